//! What this machine has: settings in the environment, programs, a Docker daemon.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use testcontainers::core::client::docker_client_instance;
use tokio::{sync::OnceCell, time::timeout};

/// A daemon answers a ping within milliseconds, or is not there.
const DOCKER_PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads a variable; an empty one counts as not set, as CI systems leave them.
#[expect(clippy::disallowed_methods, reason = "the harness has no configuration file; this is its one reader")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Finds a program in `folders`, else on `PATH`.
pub(crate) fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let candidates = folders.iter().cloned().chain(env::split_paths(&path));
    candidates.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Where Debian keeps PostgreSQL's programs, which are not on `PATH`; the newest version first.
pub(super) fn postgresql_folders() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|version| Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin")).collect()
}

/// Whether a Docker daemon answers; asked once.
pub(crate) async fn docker_answers() -> bool {
    static ANSWERS: OnceCell<bool> = OnceCell::const_new();
    *ANSWERS
        .get_or_init(|| async {
            let ping = async { docker_client_instance().await.ok()?.ping().await.ok() };
            matches!(timeout(DOCKER_PING_TIMEOUT, ping).await, Ok(Some(_)))
        })
        .await
}
