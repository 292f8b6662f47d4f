//! A disk that keeps only what was synced, and of the rest what chance leaves.
//!
//! POSIX promises no more: bytes are safe once an fsync of their file that began after them has returned, a name once
//! one of its folder has. What is not safe may be there all the same, in any selection and torn at any sector.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context as _, Result};
use fastrand::Rng;

use super::trace::{Entry, Op, Trace};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The state of the folder after some of a [`Trace`].
#[derive(Debug)]
pub struct Disk<'a> {
    trace: &'a Trace,
    nodes: Vec<Node>,
    /// What a program sees.
    live: BTreeMap<String, usize>,
    /// What is there after a power cut at the least.
    safe: BTreeMap<String, usize>,
    syncs: HashMap<u64, Sync>,
}

#[derive(Debug)]
enum Node {
    Folder,
    /// Its bytes that are safe, and the entries of the trace that are not, in their order.
    File {
        safe: Vec<u8>,
        pending: Vec<usize>,
    },
}

/// What an fsync that is under way will have made safe.
#[derive(Debug)]
enum Sync {
    File { node: usize, before: usize },
    Folder { path: String, names: Vec<(String, usize)> },
}

/// How much of what is not safe is there all the same.
#[derive(Debug)]
pub struct Chance {
    rng: Rng,
    /// Between 0 and 1.
    survives: f64,
}

impl Chance {
    /// A chance that follows from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let survives = [0.0, 0.5, 0.95][rng.usize(..3)];
        Self { rng, survives }
    }

    /// Nothing that is not safe is there.
    #[must_use]
    pub fn none() -> Self {
        Self { rng: Rng::with_seed(0), survives: 0.0 }
    }

    fn survives(&mut self) -> bool {
        self.rng.f64() < self.survives
    }

    /// How much of a write that survives is there: mostly all.
    fn torn(&mut self, length: usize) -> usize {
        if self.rng.u8(..8) == 0 { self.rng.usize(..=length / SECTOR) * SECTOR } else { length }
    }
}

impl<'a> Disk<'a> {
    /// An empty folder, which is safe itself.
    #[must_use]
    pub fn new(trace: &'a Trace) -> Self {
        Self { trace, nodes: Vec::new(), live: BTreeMap::new(), safe: BTreeMap::new(), syncs: HashMap::new() }
    }

    /// Does what the entry number `at` of the trace says.
    pub fn apply(&mut self, at: usize) {
        let trace = self.trace;
        let Entry { path, op } = &trace.entries()[at];
        match op {
            Op::Create => self.make(path, Node::File { safe: Vec::new(), pending: Vec::new() }),
            Op::Folder => self.make(path, Node::Folder),
            Op::Remove => drop(self.live.remove(path)),
            Op::Rename(to) => {
                if let Some(node) = self.live.remove(path) {
                    self.live.insert(to.clone(), node);
                }
            }
            Op::Write { .. } | Op::Truncate(_) => {
                if let Some(node) = self.live.get(path)
                    && let Node::File { pending, .. } = &mut self.nodes[*node]
                {
                    pending.push(at);
                }
            }
            Op::SyncBegins(number) => self.begin_sync(path, *number, at),
            Op::SyncEnds(number) => self.end_sync(*number),
            Op::Answer(_) => {}
        }
    }

    fn make(&mut self, path: &str, node: Node) {
        self.nodes.push(node);
        self.live.insert(path.to_owned(), self.nodes.len() - 1);
    }

    fn begin_sync(&mut self, path: &str, number: u64, at: usize) {
        let node = self.live.get(path).copied();
        let sync = match node.map(|node| (node, &self.nodes[node])) {
            Some((node, Node::File { .. })) => Sync::File { node, before: at },
            Some((_, Node::Folder)) => Sync::Folder { path: path.to_owned(), names: names_in(&self.live, path) },
            None if path.is_empty() => Sync::Folder { path: String::new(), names: names_in(&self.live, path) },
            None => return,
        };
        self.syncs.insert(number, sync);
    }

    fn end_sync(&mut self, number: u64) {
        match self.syncs.remove(&number) {
            Some(Sync::File { node, before }) => {
                if let Node::File { safe, pending } = &mut self.nodes[node] {
                    let rest = pending.split_off(pending.partition_point(|entry| *entry < before));
                    for entry in std::mem::replace(pending, rest) {
                        change(self.trace, entry, safe, usize::MAX);
                    }
                }
            }
            Some(Sync::Folder { path, names }) => {
                for (gone, _) in names_in(&self.safe, &path) {
                    self.safe.remove(&gone);
                }
                self.safe.extend(names);
            }
            None => {}
        }
    }

    /// Writes into the folder `into` what is there after a power cut now.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, into: &Path, chance: &mut Chance) -> Result<()> {
        let names: BTreeSet<&String> = self.safe.keys().chain(self.live.keys()).collect();
        let mut made: BTreeSet<&str> = BTreeSet::from([""]);
        for name in names {
            let (safe, live) = (self.safe.get(name), self.live.get(name));
            let node = if safe != live && chance.survives() { live } else { safe };
            let Some(node) = node else { continue };
            if !made.contains(parent(name)) {
                continue;
            }
            let path = into.join(name);
            match &self.nodes[*node] {
                Node::Folder => {
                    std::fs::create_dir(&path).with_context(|| name.clone())?;
                    made.insert(name);
                }
                Node::File { safe, pending } => {
                    let mut bytes = safe.clone();
                    for entry in pending {
                        if chance.survives() {
                            let length = chance.torn(length(self.trace, *entry));
                            change(self.trace, *entry, &mut bytes, length);
                        }
                    }
                    std::fs::write(&path, bytes).with_context(|| name.clone())?;
                }
            }
        }
        Ok(())
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn names_in(names: &BTreeMap<String, usize>, folder: &str) -> Vec<(String, usize)> {
    names.iter().filter(|(name, _)| parent(name) == folder).map(|(name, node)| (name.clone(), *node)).collect()
}

fn length(trace: &Trace, entry: usize) -> usize {
    if let Op::Write { data, .. } = &trace.entries()[entry].op { data.len() } else { usize::MAX }
}

/// Changes the bytes as the entry says, or as its first `length` bytes do.
fn change(trace: &Trace, entry: usize, bytes: &mut Vec<u8>, length: usize) {
    match &trace.entries()[entry].op {
        Op::Write { offset, data } => {
            let data = trace.data(data);
            let data = &data[..length.min(data.len())];
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
        Op::Truncate(length) => bytes.resize(*length, 0),
        Op::Create | Op::Folder | Op::Remove | Op::Rename(_) | Op::SyncBegins(_) | Op::SyncEnds(_) | Op::Answer(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(letter: u8, path: &str, number: u64, data: &[u8]) -> Vec<u8> {
        let lengths = (u16::try_from(path.len()).expect("short"), u32::try_from(data.len()).expect("short"));
        [
            &[letter][..],
            &lengths.0.to_le_bytes(),
            &number.to_le_bytes(),
            &lengths.1.to_le_bytes(),
            path.as_bytes(),
            data,
        ]
        .concat()
    }

    /// What is left of a file after a cut behind each entry, if nothing survives that is not safe.
    fn left(lines: &[Vec<u8>], file: &str) -> Vec<Option<String>> {
        let trace = Trace::parse(lines.concat()).expect("a record");
        let mut disk = Disk::new(&trace);
        let read = |at| {
            disk.apply(at);
            let folder = tempfile::tempdir().expect("a folder");
            disk.write(folder.path(), &mut Chance::none()).expect("it is written");
            std::fs::read_to_string(folder.path().join(file)).ok()
        };
        (0..trace.entries().len()).map(read).collect()
    }

    #[test]
    fn bytes_are_safe_once_a_sync_that_began_after_them_has_returned_and_so_has_one_of_the_folder() {
        let lines = [
            line(b'C', "f", 0, b""),
            line(b'W', "f", 0, b"one"),
            line(b'B', "f", 1, b""),
            line(b'W', "f", 3, b"two"),
            line(b'E', "f", 1, b""),
            line(b'B', "", 2, b""),
            line(b'E', "", 2, b""),
            line(b'B', "f", 3, b""),
            line(b'E', "f", 3, b""),
            line(b'D', "f", 0, b""),
            line(b'B', "", 4, b""),
            line(b'E', "", 4, b""),
        ];
        let some = |text: &str| Some(text.to_owned());
        let none = vec![None; 6];
        let expected =
            [none, vec![some("one"), some("one"), some("onetwo"), some("onetwo"), some("onetwo"), None]].concat();
        assert_eq!(left(&lines, "f"), expected);
    }

    #[test]
    fn what_lies_in_a_folder_without_a_name_is_gone() {
        let lines = [
            line(b'F', "a", 0, b""),
            line(b'C', "a/f", 0, b""),
            line(b'W', "a/f", 0, b"x"),
            line(b'B', "a/f", 1, b""),
            line(b'E', "a/f", 1, b""),
            line(b'B', "a", 2, b""),
            line(b'E', "a", 2, b""),
            line(b'B', "", 3, b""),
            line(b'E', "", 3, b""),
        ];
        let found = left(&lines, "a/f");
        assert!(found[..8].iter().all(Option::is_none), "{found:?}");
        assert_eq!(found[8].as_deref(), Some("x"));
    }
}
