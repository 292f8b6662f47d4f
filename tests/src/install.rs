//! Makes sure that the tests find their servers, before anything is built.
//!
//! On a Debian or Ubuntu where we are root, such as a container of a CI, the missing packages are installed, and on
//! Debian a RabbitMQ of another release is put into a folder. Anywhere else nothing is changed: the error says what to do.

mod release;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::process::getuid;

use crate::servers::{self, Kind, find, postgres::PostgresKind, rabbitmq::RabbitMqKind, redis::RedisKind};

/// Debian's packages ask this program whether they may start what they install.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// 101 is "not allowed"; the comment tells one that we left behind from one of the machine's own.
const DENY_ALL: &str = "#!/bin/sh\n# tidegate: installed servers are not started\nexit 101\n";

/// Something the tests cannot do without, and is not here.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    packages: &'static [&'static str],
    advice: String,
}

/// Returns once RabbitMQ, Redis, PostgreSQL, Node.js and Python can be had, by installing them if need be.
///
/// A server counts as there if its URL is set, Docker answers, or its program is found.
///
/// # Errors
///
/// Something is missing and cannot be installed here; the message names all of it.
pub async fn ensure_servers() -> Result<()> {
    let missing = find_missing().await;
    if !missing.is_empty() && may_install() {
        install(&missing)?;
    }
    if let Err(error) = release::ensure_rabbitmq() {
        // A chosen one is missed below; without one for clusters only their test fails.
        eprintln!("{error:#}");
    }
    let missing = find_missing().await;
    ensure!(missing.is_empty(), advice(&missing));
    Ok(())
}

/// Says whether Prometheus's `promtool` can be run, after installing it where that is allowed.
///
/// # Errors
///
/// The installation fails.
pub fn ensure_promtool() -> Result<bool> {
    const PROMTOOL: Missing = Missing { packages: &["prometheus"], advice: String::new() };
    let is_here = || find::program("promtool", &[]).is_some();
    if !is_here() && may_install() {
        install(&[PROMTOOL])?;
    }
    Ok(is_here())
}

/// Says whether `valgrind` can be run, after installing it where that is allowed.
///
/// # Errors
///
/// The installation fails.
pub fn ensure_valgrind() -> Result<bool> {
    const VALGRIND: Missing = Missing { packages: &["valgrind"], advice: String::new() };
    let is_here = || find::program("valgrind", &[]).is_some();
    if !is_here() && may_install() {
        install(&[VALGRIND])?;
    }
    Ok(is_here())
}

async fn find_missing() -> Vec<Missing> {
    let servers = [
        missing_server::<RabbitMqKind>().await,
        missing_server::<RedisKind>().await,
        missing_server::<PostgresKind>().await,
    ];
    servers.into_iter().chain([missing_node(), missing_pip(), missing_ip()]).flatten().collect()
}

async fn missing_server<K: Kind>() -> Option<Missing> {
    let missing = servers::ensure_available::<K>().await.err()?;
    Some(Missing { packages: K::PACKAGES, advice: format!("{missing:#}") })
}

/// The conformance tests sign with the providers' own SDKs, in Node.js.
fn missing_node() -> Option<Missing> {
    let is_here = ["node", "npm"].iter().all(|program| find::program(program, &[]).is_some());
    let advice = "Node.js with npm is missing, and the conformance tests run the providers' SDKs in it: install the \
                  packages nodejs and npm"
        .to_owned();
    (!is_here).then_some(Missing { packages: &["nodejs", "npm"], advice })
}

/// Some of the SDKs are Python's.
fn missing_pip() -> Option<Missing> {
    let pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    let is_here = pip.is_ok_and(|output| output.status.success());
    let advice =
        "Python 3 with pip is missing, and the conformance tests run some of the providers' SDKs in it: install \
                  the packages python3 and python3-pip"
            .to_owned();
    (!is_here).then_some(Missing { packages: &["python3", "python3-pip"], advice })
}

/// What cuts servers off, and makes the internet of `it/keys.rs`.
fn missing_ip() -> Option<Missing> {
    let is_here = find::program("ip", &["/usr/sbin".into(), "/sbin".into()]).is_some();
    let advice = "ip is missing, with which tests make networks of their own: install the package iproute2".to_owned();
    (!is_here).then_some(Missing { packages: &["iproute2"], advice })
}

fn may_install() -> bool {
    getuid().is_root() && Path::new("/etc/debian_version").exists() && find::program("apt-get", &[]).is_some()
}

/// Everything that is missing, a line each, and the one command for those who can use it.
fn advice(missing: &[Missing]) -> String {
    let lines: Vec<String> = missing.iter().map(|missing| format!("- {}", missing.advice)).collect();
    let packages = packages(missing).join(" ");
    format!(
        "the tests cannot run here:\n{}\nOn Debian and Ubuntu: sudo apt-get install --no-install-recommends {packages}",
        lines.join("\n")
    )
}

fn packages(missing: &[Missing]) -> Vec<&'static str> {
    missing.iter().flat_map(|missing| missing.packages).copied().collect()
}

fn install(missing: &[Missing]) -> Result<()> {
    let packages = packages(missing);
    eprintln!("The tests need {}: installing with apt-get.", packages.join(", "));
    let _policy = StartPolicy::deny()?;
    apt_get(&["update"])?;
    let arguments: Vec<&str> = ["install", "--yes", "--no-install-recommends"].into_iter().chain(packages).collect();
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    eprintln!("+ apt-get {}", arguments.join(" "));
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    ensure!(status.success(), "apt-get {}: {status}", arguments.join(" "));
    Ok(())
}

/// Keeps packages from starting their servers, while it lives.
#[derive(Debug)]
struct StartPolicy {
    is_ours: bool,
}

impl StartPolicy {
    fn deny() -> Result<Self> {
        // Images of Docker come with one that denies already. One that we left when killed is ours to remove.
        let is_ours = match fs::read_to_string(POLICY) {
            Ok(policy) => policy == DENY_ALL,
            Err(_) => true,
        };
        if is_ours {
            fs::write(POLICY, DENY_ALL).with_context(|| format!("cannot write {POLICY}"))?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { is_ours })
    }
}

impl Drop for StartPolicy {
    fn drop(&mut self) {
        if self.is_ours {
            fs::remove_file(POLICY).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_everything_that_is_missing() {
        let missing = [
            Missing { packages: &["redis-server"], advice: "Redis is missing".to_owned() },
            Missing { packages: &["nodejs", "npm"], advice: "Node.js is missing".to_owned() },
        ];
        assert_eq!(
            advice(&missing),
            "the tests cannot run here:\n\
             - Redis is missing\n\
             - Node.js is missing\n\
             On Debian and Ubuntu: sudo apt-get install --no-install-recommends redis-server nodejs npm"
        );
    }
}
