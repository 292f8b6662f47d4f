//! A RabbitMQ of another release of Debian, in a folder: `debootstrap` makes it, from the mirror that apt uses already.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{Missing, apt_get, install, may_install};
use crate::servers::{find, rabbitmq::release::Wanted};

/// Makes the releases that the tests will ask for, those that are not here and may be made.
///
/// # Errors
///
/// One cannot be made; the message says why.
pub(super) fn ensure_rabbitmq() -> Result<()> {
    for wanted in Wanted::find()? {
        if may_install() && !wanted.root.exists() {
            make(&wanted)?;
        }
        wanted.release()?;
    }
    Ok(())
}

fn make(wanted: &Wanted) -> Result<()> {
    const DEBOOTSTRAP: Missing = Missing { packages: &["debootstrap"], advice: String::new() };
    if find::program("debootstrap", &[]).is_none() {
        install(&[DEBOOTSTRAP])?;
    }
    let mirror = mirror()?;
    let parent = wanted.root.parent().context("a release is in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {parent:?}"))?;
    // Beside it, and renamed when whole: one that was interrupted is never taken for one that works.
    let beside = tempfile::tempdir_in(parent)?;
    let root = beside.path().join("root");
    debootstrap(wanted.suite, &root, &mirror)?;
    // Nodes know each other by this name; some suites leave the file to whoever installs a system.
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    if let Err(error) = fs::rename(&root, &wanted.root) {
        // Somebody else was faster, or it is not to be had.
        ensure!(wanted.root.exists(), "cannot name {root:?} {:?}: {error}", wanted.root);
    }
    Ok(())
}

fn debootstrap(suite: &str, root: &Path, mirror: &str) -> Result<()> {
    eprintln!("+ debootstrap --variant=minbase --include=rabbitmq-server {suite} {root:?} (about a minute)");
    // What it mounts there is seen by it alone, and gone with it.
    let output = Command::new("unshare")
        .args(["--mount", "debootstrap", "--variant=minbase", "--include=rabbitmq-server", suite])
        .arg(root)
        .arg(mirror)
        .stdin(Stdio::null())
        .output()
        .context("cannot run debootstrap")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "debootstrap of {suite}: {}\n{printed}", output.status);
    Ok(())
}

/// The mirror that this machine gets Debian's packages from.
fn mirror() -> Result<String> {
    // What a mirror holds is known once its index was fetched, which a fresh image leaves to be done.
    if let Some(mirror) = mirror_in(&index_targets()?) {
        return Ok(mirror);
    }
    apt_get(&["update"])?;
    mirror_in(&index_targets()?).context("apt gets no packages of Debian's own here, so another release cannot be had")
}

fn index_targets() -> Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Not that of the security updates, whose label is another.
fn mirror_in(index_targets: &str) -> Option<String> {
    index_targets.lines().find_map(|line| line.strip_prefix("Debian Debian ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debians_own_packages() {
        let check = |targets: &str, expected: Option<&str>| assert_eq!(mirror_in(targets).as_deref(), expected);
        check("", None);
        check("$(ORIGIN) $(LABEL) http://mirror.example/debian/\n", None);
        check("Ubuntu Ubuntu http://mirror.example/ubuntu/\n", None);
        check(
            "Debian Debian-Security http://mirror.example/debian-security/\n. nodistro https://other.example/\n\
             Debian Debian http://mirror.example/debian/\n",
            Some("http://mirror.example/debian/"),
        );
    }
}
