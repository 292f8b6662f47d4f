//! The watcher that cleans up when the test process no longer can.
//!
//! It is a shell that waits for the end of its input. The only writer of that input is the test process, so the kernel
//! ends it whenever that process ends: on return, on panic, on `exit` with servers in a `static`, on SIGKILL.
//!
//! Not `PR_SET_PDEATHSIG`: that signal comes when the *thread* that started the server ends, which in a Tokio runtime is
//! any time, and a change of user or a daemon's `fork` forgets it.

use std::{
    ffi::OsStr,
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Kills every process that works in the folder `$1`, runs the last rites `$2` in it and removes it.
///
/// Bounded to 500 rounds: a process that survives so many SIGKILLs is stuck in the kernel, and waiting would not help.
const EMPTY_FOLDER: &str = r#"
read -r _
residents() {
    find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "$1" -o -lname "$1/*" \) 2>/dev/null | cut -d/ -f3
}
rounds=500
while pids=$(residents "$1"); [ -n "$pids" ] && [ "$rounds" -gt 0 ]; do
    kill -KILL $pids 2>/dev/null
    rounds=$((rounds - 1))
    sleep 0.01
done
(cd "$1" && eval "$2") 2>/dev/null
rm -rf -- "$1"
"#;

/// Removes the container `$1`, unless dismissed before.
const REMOVE_CONTAINER: &str = r#"read -r _ || docker rm --force --volumes "$1""#;

/// A watcher of one server.
#[derive(Debug)]
pub(super) struct Guardian {
    shell: Child,
}

impl Guardian {
    pub(super) fn of_folder(folder: &Path, last_rites: &str) -> Result<Self> {
        Self::start(EMPTY_FOLDER, &[folder.as_ref(), last_rites.as_ref()])
    }

    pub(super) fn of_container(id: &str) -> Result<Self> {
        Self::start(REMOVE_CONTAINER, &[id.as_ref()])
    }

    fn start(script: &str, arguments: &[&OsStr]) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", script, "tidegate-guardian"])
            .args(arguments)
            .current_dir("/")
            // A Ctrl-C in the terminal ends the group of the tests; the watcher has to outlive it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh to watch over a server")?;
        Ok(Self { shell })
    }

    /// Has the watcher do its work now, and waits for it.
    pub(super) fn finish(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }

    /// Ends the watcher of a container that is gone already.
    pub(super) fn dismiss(&mut self) {
        if let Some(stdin) = &mut self.shell.stdin {
            stdin.write_all(b"dismissed\n").ok();
        }
        self.finish();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.finish();
    }
}
