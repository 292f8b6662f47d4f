//! What processes cost, as the kernel counts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};

/// The kernel's ticks in a second (`sysconf(_SC_CLK_TCK)`): 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// A process with everything that it started.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What the report calls it.
    pub name: &'static str,
    /// Its id.
    pub id: u32,
}

impl Watched {
    /// The process that listens on an address.
    ///
    /// # Errors
    /// If there is none, or not of this user.
    pub fn listening_on(name: &'static str, address: SocketAddr) -> Result<Self> {
        let sockets = sockets_on(address.port())?;
        let owner = processes().find(|id| {
            let Ok(files) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
            files
                .flatten()
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|target| sockets.contains(target.to_string_lossy().as_ref()))
        });
        Ok(Self { name, id: owner.with_context(|| format!("no process listens on {address}"))? })
    }

    /// Seconds of processor time so far, in the kernel and out of it, with those of its children that live.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let ticks = self.tree()?.into_iter().filter_map(|id| cpu_ticks(id).ok()).sum::<u64>();
        Ok(ticks as f64 / TICKS)
    }

    /// Resident bytes, without its children.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
    }

    fn tree(&self) -> Result<BTreeSet<u32>> {
        let parents: BTreeMap<u32, u32> =
            processes().filter_map(|id| Some((id, stat(id).ok()?.get(1)?.parse().ok()?))).collect();
        let mut tree = BTreeSet::from([self.id]);
        loop {
            let children = parents.iter().filter(|(id, parent)| tree.contains(parent) && !tree.contains(id));
            let children: Vec<u32> = children.map(|(id, _)| *id).collect();
            if children.is_empty() {
                return Ok(tree);
            }
            tree.extend(children);
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/ID/stat` from the third on: those behind the name, which may hold anything.
fn stat(id: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("the process has no state")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

fn cpu_ticks(id: u32) -> Result<u64> {
    let fields = stat(id)?;
    // utime and stime are the fields 14 and 15 of proc(5), and ours begin with the third.
    let field = |number: usize| Ok::<u64, anyhow::Error>(fields.get(number - 3).context("too few fields")?.parse()?);
    Ok(field(14)? + field(15)?)
}

/// How links to the sockets that listen on a port read in `/proc/ID/fd`.
fn sockets_on(port: u16) -> Result<BTreeSet<String>> {
    const LISTENING: &str = "0A";
    let mut sockets = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
            if state == LISTENING && local.ends_with(&format!(":{port:04X}")) {
                sockets.insert(format!("socket:[{inode}]"));
            }
        }
    }
    Ok(sockets)
}

/// What this machine is.
#[must_use]
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_port_and_its_time_is_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let watched = Watched::listening_on("test", listener.local_addr().expect("an address")).expect("found");
        assert_eq!(watched.id, std::process::id());
        let before = watched.cpu_seconds().expect("counted");
        let began = std::time::Instant::now();
        let spent = || watched.cpu_seconds().expect("counted") - before;
        while spent() < 0.05 {
            assert!(began.elapsed().as_secs() < 60, "{} s are counted", spent());
        }
        assert!(watched.resident().expect("counted") > 1_000_000);
    }
}
