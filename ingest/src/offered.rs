//! A secret that its provider offers in a handshake: taken once, and kept in a file.
//!
//! Anyone can send such a handshake. So the first secret stays: another is refused until a person has taken the file
//! away, and a stranger who was first shows at once, since the provider's own handshake then fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tidegate_shared::config::SourceConfig;
use tidegate_shared::random;
use tidegate_shared::signature::{Secret, SecretError, Verifier};
use tidegate_shared::telemetry::chain;

/// Why an offered secret is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OfferedError {
    /// The source has no `offered_secret`, so that nobody waits for one.
    #[error("the source takes no secret that is offered: set its offered_secret to a file's name")]
    Unwanted,
    /// There is one already.
    #[error("the source has its secret already: remove {} to take another", path.display())]
    Taken {
        /// Where it is.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// It cannot be this source's secret.
    #[error("the secret cannot be used")]
    Useless(#[source] SecretError),
}

/// The secret of one source that its provider has offered, or will.
#[derive(Debug)]
pub(crate) struct Offered {
    path: PathBuf,
    verifier: OnceLock<Verifier>,
}

impl Offered {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, verifier: OnceLock::new() }
    }

    /// The verifier that knows the secret, once there is one: this process has taken it, or another has.
    pub(crate) fn verifier(&self, config: &SourceConfig) -> Option<&Verifier> {
        if self.verifier.get().is_none()
            && let Err(error) = self.look(config)
        {
            tracing::error!(source = %config.name, error = %chain(&error), "the source's own secret cannot be used");
        }
        self.verifier.get()
    }

    fn look(&self, config: &SourceConfig) -> Result<(), OfferedError> {
        let secret = match fs::read_to_string(&self.path) {
            Ok(text) => Secret::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.file(error)),
        };
        self.use_it(config, secret)
    }

    /// Takes the secret, unless there is one; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`OfferedError`] if it is not taken.
    pub(crate) fn take(&self, config: &SourceConfig, secret: Secret) -> Result<(), OfferedError> {
        config.verifier_with(secret.clone()).map_err(OfferedError::Useless)?;
        match write_once(&self.path, secret.expose().as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // The provider asks again whose answer was lost.
                let is_same = fs::read_to_string(&self.path).is_ok_and(|known| known == secret.expose());
                return if is_same { Ok(()) } else { Err(OfferedError::Taken { path: self.path.clone() }) };
            }
            Err(error) => return Err(self.file(error)),
        }
        self.use_it(config, secret)
    }

    fn use_it(&self, config: &SourceConfig, secret: Secret) -> Result<(), OfferedError> {
        let verifier = config.verifier_with(secret).map_err(OfferedError::Useless)?;
        // Whoever was quicker has read the same file.
        self.verifier.get_or_init(|| verifier);
        Ok(())
    }

    fn file(&self, source: io::Error) -> OfferedError {
        OfferedError::File { path: self.path.clone(), source }
    }
}

/// Writes a file that was not there, whole or not at all, readable for its owner alone.
fn write_once(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", hex::encode(random::bytes::<8>())));
    let draft = folder.join(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        // Fails if the file is there, whoever wrote it.
        fs::hard_link(&draft, path)?;
        File::open(folder)?.sync_all()
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use tidegate_shared::config::Config;

    use super::*;

    fn config(path: &Path) -> SourceConfig {
        let text = format!("[[source]]\nname = \"a\"\nprovider = \"asana\"\noffered_secret = \"{}\"\n", path.display());
        let config = Config::parse("test", &text, &|_| None).expect("a source");
        config.sources.into_values().next().expect("one source")
    }

    #[test]
    fn the_first_secret_is_kept_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("asana.secret");
        let (config, offered) = (config(&path), Offered::new(path.clone()));
        assert!(offered.verifier(&config).is_none());
        offered.take(&config, Secret::new("a secret of the first".into())).expect("taken");
        assert!(offered.verifier(&config).is_some());
        offered.take(&config, Secret::new("a secret of the first".into())).expect("asked again");
        let second = offered.take(&config, Secret::new("a secret of the second".into()));
        assert!(matches!(second, Err(OfferedError::Taken { .. })), "{second:?}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "a secret of the first");
        // Another process finds it.
        assert!(Offered::new(path.clone()).verifier(&config).is_some());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no draft is left");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_kept_is_not_taken() {
        let path = PathBuf::from("/nowhere/asana.secret");
        let (config, offered) = (config(&path), Offered::new(path));
        let taken = offered.take(&config, Secret::new("a secret of the first".into()));
        assert!(matches!(taken, Err(OfferedError::File { .. })), "{taken:?}");
        assert!(offered.verifier(&config).is_none());
    }
}
