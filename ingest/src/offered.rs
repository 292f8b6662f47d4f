//! A secret that its provider offers in a handshake: taken once, and kept in a file.
//!
//! Anyone can send such a handshake. So the first secret stays: another is refused until a person has taken the file
//! away, and a stranger who was first shows at once, since the provider's own handshake then fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tidegate_shared::config::SourceConfig;
use tidegate_shared::random;
use tidegate_shared::signature::{Secret, SecretError};
use tidegate_shared::telemetry::chain;

/// Why an offered secret is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OfferedError {
    /// The source has no `offered_secret`, so that nobody waits for one.
    #[error("the source takes no secret that is offered: set its offered_secret to a file's name")]
    Unwanted,
    /// There is one already.
    #[error("the source has its secret already: remove {} and start again to take another", path.display())]
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

/// How often a file is looked for that is not there: anyone can send a request to its source.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The secret of one source that its provider has offered, or will.
#[derive(Debug)]
pub(crate) struct Offered {
    path: PathBuf,
    /// The source with it.
    known: OnceLock<SourceConfig>,
    looked: Mutex<Option<Instant>>,
}

impl Offered {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, known: OnceLock::new(), looked: Mutex::default() }
    }

    /// The source with the secret, once there is one: this process has taken it, or another has.
    pub(crate) fn known(&self, config: &SourceConfig) -> Option<&SourceConfig> {
        self.known.get().or_else(|| self.look(config))
    }

    /// Looks for the file, unless that was done just now; who comes meanwhile waits for what is found.
    fn look(&self, config: &SourceConfig) -> Option<&SourceConfig> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.get().is_none() && looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            *looked = Some(Instant::now());
            match with_offered(config) {
                Ok(Some(known)) => drop(self.known.set(known)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(source = %config.name, error = %chain(&error), "the source's own secret cannot be used");
                }
            }
        }
        self.known.get()
    }

    /// Takes the secret, unless there is one; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`OfferedError`] if it is not taken.
    pub(crate) fn take(&self, config: &SourceConfig, secret: &Secret) -> Result<(), OfferedError> {
        let taken = || OfferedError::Taken { path: self.path.clone() };
        let known = config.with_secret(secret.clone()).map_err(OfferedError::Useless)?;
        let is_known =
            |known: &SourceConfig| known.secrets.iter().any(|dated| dated.secret.expose() == secret.expose());
        // Whoever took the file away must start this process again, or it would go on with what was in it.
        if self.known.get().is_some_and(|known| !is_known(known)) {
            return Err(taken());
        }
        match write_once(&self.path, secret.expose().as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // The provider asks again whose answer was lost.
                if !fs::read_to_string(&self.path).is_ok_and(|text| text == secret.expose()) {
                    return Err(taken());
                }
            }
            Err(source) => return Err(OfferedError::File { path: self.path.clone(), source }),
        }
        if is_known(self.known.get_or_init(|| known)) { Ok(()) } else { Err(taken()) }
    }
}

/// The source with the secret that was offered to it; `None` if none was, or none is to be.
///
/// # Errors
/// [`OfferedError`] if it cannot be read or used.
pub fn with_offered(config: &SourceConfig) -> Result<Option<SourceConfig>, OfferedError> {
    let Some(path) = &config.offered_secret else { return Ok(None) };
    match fs::read_to_string(path) {
        Ok(text) => config.with_secret(Secret::new(text)).map(Some).map_err(OfferedError::Useless),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OfferedError::File { path: path.clone(), source }),
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
        assert!(offered.known(&config).is_none());
        offered.take(&config, &Secret::new("a secret of the first".into())).expect("taken");
        assert!(offered.known(&config).is_some());
        offered.take(&config, &Secret::new("a secret of the first".into())).expect("asked again");
        let second = offered.take(&config, &Secret::new("a secret of the second".into()));
        assert!(matches!(second, Err(OfferedError::Taken { .. })), "{second:?}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "a secret of the first");
        // While this process goes on with it, nothing takes its place; another process finds it.
        fs::rename(&path, folder.path().join("away")).expect("moved");
        let third = offered.take(&config, &Secret::new("a secret of the third".into()));
        assert!(matches!(third, Err(OfferedError::Taken { .. })), "{third:?}");
        fs::rename(folder.path().join("away"), &path).expect("moved");
        let other = Offered::new(path.clone());
        other.take(&config, &Secret::new("a secret of the first".into())).expect("asked there, too");
        assert!(other.known.get().is_some(), "it is used at once");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no draft is left");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_word_for_handshakes_stays_beside_the_offered_secret() {
        let text = "[[source]]\nname = \"a\"\nprovider = \"hmac\"\noffered_secret = \"/nowhere\"\nverify_token = \"the word\"\n\
                    [source.signature]\nheader = \"x-sig\"\nsigned = \"{body}\"\nid = \"body-sha256\"\n\
                    [[source.signature.handshake]]\nwhen = \"header:x-offer\"\nproof = \"none\"\nanswer = \"keep header:x-offer\"\n\
                    [[source.signature.handshake]]\nmethod = \"GET\"\nwhen = \"query:a\"\nproof = \"word query:w\"\n\
                    answer = \"text query:a\"\n";
        let config = Config::parse("test", text, &|_| None).expect("a source");
        let source = config.sources.into_values().next().expect("one source");
        let known = source.with_secret(Secret::new("a secret of the first".into())).expect("a source");
        let headers = http::HeaderMap::new();
        let received = tidegate_shared::signature::Received {
            method: &http::Method::GET,
            target: "/?a=b&w=the+word",
            headers: &headers,
            body: b"",
        };
        let reply = known.verifier.open_handshake(&received, jiff::Timestamp::now());
        assert_eq!(reply.expect("proven").expect("a reply").body, "b");
        let four = text.replace("offered_secret", "secrets = [\"1234567890123456\", \"2234567890123456\", \"3234567890123456\", \"4234567890123456\"]\noffered_secret");
        let error = Config::parse("test", &four, &|_| None).expect_err("there is no room").to_string();
        assert!(error.contains("no room"), "{error}");
    }

    /// Goal: no request is judged without a secret that is there. Method: many at once, before anybody has looked.
    #[test]
    fn requests_that_come_at_once_all_find_the_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("asana.secret");
        fs::write(&path, "a secret of the first").expect("written");
        let config = config(&path);
        for _ in 0..50 {
            let (offered, start) = (Offered::new(path.clone()), std::sync::Barrier::new(8));
            std::thread::scope(|scope| {
                let ask = || {
                    start.wait();
                    offered.known(&config).is_some()
                };
                let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                assert!(asking.into_iter().all(|asked| asked.join().expect("no panic")));
            });
        }
    }

    #[test]
    fn what_cannot_be_kept_is_not_taken() {
        let path = PathBuf::from("/nowhere/asana.secret");
        let (config, offered) = (config(&path), Offered::new(path));
        let taken = offered.take(&config, &Secret::new("a secret of the first".into()));
        assert!(matches!(taken, Err(OfferedError::File { .. })), "{taken:?}");
        assert!(offered.known(&config).is_none());
    }
}
