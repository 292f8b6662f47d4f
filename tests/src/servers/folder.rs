//! The private folder a server lives in, and by which its processes are known.
//!
//! "The server" is every process whose working directory is in its folder. Children inherit that directory also across
//! `setsid` and the death of their parent. A process group or a parent's id would lose some of them: the backends of
//! PostgreSQL and the port programs of RabbitMQ leave both.
//!
//! Programs of another system live in a folder that they take for `/`, their root; the server's folder is then in there.
//! From outside their working directories are seen as they are, so that all of this holds for them too.
//!
//! It takes Linux's `/proc`. Elsewhere the servers come from Docker or from URLs.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{guardian::Guardian, network::enter};
use crate::eventually::eventually;

/// The time a killed process may take to give its memory and its sockets back.
pub(super) const DEATH_TIMEOUT: Duration = Duration::from_secs(10);

/// A folder that is emptied of processes and removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// What its programs take for `/`, if it is not the machine's.
    root: Option<PathBuf>,
    /// The network namespace that its programs run in, if it is not the machine's.
    network: Option<PathBuf>,
    /// Whom its programs run as, if not as we do.
    user: Option<User>,
    guardian: Guardian,
}

/// Whom a server's programs run as.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Folder {
    /// Creates the folder; `last_rites` is shell code to run in it once all its processes are dead.
    pub(super) fn create(name: &str, last_rites: &str) -> Result<Self> {
        Self::create_within(None, name, last_rites)
    }

    /// Creates the folder for programs that take `root` for `/`.
    pub(super) fn create_within(root: Option<&Path>, name: &str, last_rites: &str) -> Result<Self> {
        ensure!(cfg!(target_os = "linux"), "{name} as a plain process needs Linux; use Docker or a URL");
        let root = root.map(fs::canonicalize).transpose()?;
        let parent = root.as_ref().map_or_else(env::temp_dir, |root| root.join("tmp"));
        let folder = tempfile::Builder::new()
            .prefix(&format!("tidegate-{name}-"))
            .tempdir_in(parent)
            .with_context(|| format!("cannot create a folder for {name}"))?;
        // As the kernel names it in /proc/<pid>/cwd.
        let path = fs::canonicalize(folder.path())?;
        let guardian = Guardian::of_folder(&path, last_rites)?;
        // From here on the guardian removes it, after those who write to it are gone.
        drop(folder.keep());
        Ok(Self { path, root, network: None, user: None, guardian })
    }

    /// Has its programs run in a network namespace.
    pub(super) fn within_network(mut self, namespace: &Path) -> Self {
        self.network = Some(namespace.to_owned());
        self
    }

    /// Hands the folder over to `user`, whom its programs run as.
    pub(super) fn owned_by(mut self, user: User) -> Result<Self> {
        chown(&self.path, Some(user.uid), Some(user.gid)).context("cannot hand the folder over")?;
        self.user = Some(user);
        Ok(self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as the server's programs see it.
    pub(super) fn path_inside(&self) -> PathBuf {
        let beneath = self.root.as_ref().and_then(|root| self.path.strip_prefix(root).ok());
        beneath.map_or_else(|| self.path.clone(), |beneath| Path::new("/").join(beneath))
    }

    /// A command for a program of the server's, with this folder as its working directory.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = match (&self.network, &self.root) {
            (None, None) => Command::new(program),
            (None, Some(root)) => {
                let mut command = Command::new("unshare");
                command.args(self.words_for_root(root)).arg(program);
                command
            }
            (Some(network), root) => {
                let mut command = enter(network);
                // Who enters a namespace must be root, and becomes the user in there.
                if let Some(User { uid, gid }) = self.user {
                    command.args(["--setuid", &uid.to_string(), "--setgid", &gid.to_string()]);
                }
                command.arg("--");
                if let Some(root) = root {
                    command.arg("unshare").args(self.words_for_root(root));
                }
                command.arg(program);
                command
            }
        };
        if let (Some(User { uid, gid }), None) = (self.user, &self.network) {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&self.path);
        command
    }

    /// What `unshare` is told before the program. A view of its own on what is mounted: its /proc is gone with the last
    /// process, however that ends.
    fn words_for_root(&self, root: &Path) -> [OsString; 6] {
        let (root, inside) = (root.to_owned().into(), self.path_inside().into());
        ["--mount-proc".into(), "--root".into(), root, "--wd".into(), inside, "--".into()]
    }

    pub(super) fn write(&self, name: &str, content: &str) -> Result<()> {
        fs::write(self.path.join(name), content).with_context(|| format!("cannot write {name}"))
    }

    /// Sends `signal` to every process of the server; one that ends meanwhile is no error.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        for resident in self.residents()? {
            match kill_process(resident, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot signal process {resident:?}")),
            }
        }
        Ok(())
    }

    /// Kills every process of the server and waits until none is left.
    ///
    /// They are frozen first: a parent would else see its child die and start to tidy up, which a machine that loses
    /// power does not do.
    pub(super) async fn kill_residents(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        eventually("the server's processes are dead", DEATH_TIMEOUT, async || {
            self.signal(Signal::KILL).map_err(|error| format!("{error:#}"))?;
            let residents = self.residents().map_err(|error| error.to_string())?;
            if residents.is_empty() { Ok(()) } else { Err(format!("still there: {residents:?}")) }
        })
        .await
    }

    /// Kills every process of the server and removes the folder, blocking until done.
    pub(super) fn destroy(&mut self) {
        self.guardian.finish();
    }

    /// The processes that work in this folder; the dead that nobody waited for yet have no directory any more.
    pub(super) fn residents(&self) -> io::Result<Vec<Pid>> {
        let mut residents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else { continue };
            // Unreadable: it ended just now, or is another user's and so not ours.
            let Ok(directory) = fs::read_link(entry.path().join("cwd")) else { continue };
            if directory.starts_with(&self.path) {
                residents.push(pid);
            }
        }
        Ok(residents)
    }
}
