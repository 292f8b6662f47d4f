//! The record of what a program did to a folder, as the library `tidegate-disk` writes it.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

/// A letter, the path's length, a number, the data's length.
const HEADER: usize = 1 + 2 + 8 + 4;

/// Everything that happened, in order.
#[derive(Debug)]
pub struct Trace {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// One thing that happened, to a file or folder below the one that was watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which; empty for the watched folder itself.
    pub path: String,
    /// What.
    pub op: Op,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A file was made.
    Create,
    /// A folder was made.
    Folder,
    /// A file was removed.
    Remove,
    /// It was given this name.
    Rename(String),
    /// These bytes were written.
    Write {
        /// From where in the file.
        offset: usize,
        /// Where they stand in the trace.
        data: Range<usize>,
    },
    /// It was cut, or made longer.
    Truncate(usize),
    /// An fsync began; its own number.
    SyncBegins(u64),
    /// It returned.
    SyncEnds(u64),
    /// Somebody is about to read that the event with this id is kept.
    Answer(String),
}

impl Trace {
    /// Reads a record.
    ///
    /// # Errors
    /// If it is not one. A last entry that is not whole, as the program was killed, is left out.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let (mut entries, mut at) = (Vec::new(), 0);
        while let Some((entry, next)) = entry(&bytes, at)? {
            entries.push(entry);
            at = next;
        }
        Ok(Self { bytes, entries })
    }

    /// The same, had the program never synced anything.
    #[must_use]
    pub fn without_syncs(self) -> Self {
        let entries = self.entries.into_iter().filter(|entry| !matches!(entry.op, Op::SyncEnds(_))).collect();
        Self { entries, ..self }
    }

    /// What happened, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The bytes of an [`Op::Write`].
    #[must_use]
    pub fn data(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }
}

fn entry(bytes: &[u8], at: usize) -> Result<Option<(Entry, usize)>> {
    let Some(header) = bytes.get(at..at + HEADER) else { return Ok(None) };
    let path_length = usize::from(u16::from_le_bytes([header[1], header[2]]));
    let number = u64::from_le_bytes(header[3..11].try_into()?);
    let data_length = u32::from_le_bytes(header[11..15].try_into()?) as usize;
    let path = at + HEADER..at + HEADER + path_length;
    let data = path.end..path.end + data_length;
    let Some(whole) = bytes.get(path.start..data.end) else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).context("a path is text");
    let op = match header[0] {
        b'C' => Op::Create,
        b'F' => Op::Folder,
        b'D' => Op::Remove,
        b'R' => Op::Rename(text(&whole[path_length..])?),
        b'W' => Op::Write { offset: usize::try_from(number)?, data: data.clone() },
        b'T' => Op::Truncate(usize::try_from(number)?),
        b'B' => Op::SyncBegins(number),
        b'E' => Op::SyncEnds(number),
        b'A' => Op::Answer(event_id(&whole[path_length..])?),
        other => bail!("the record has an entry {other:?} at {at}"),
    };
    Ok(Some((Entry { path: text(&whole[..path_length])?, op }, data.end)))
}

/// The id in an answer of the door.
fn event_id(answer: &[u8]) -> Result<String> {
    const FIELD: &str = "\"event_id\":\"";
    let answer = String::from_utf8_lossy(answer);
    let id = answer.split_once(FIELD).and_then(|(_, rest)| rest.split_once('"')).map(|(id, _)| id.to_owned());
    let id = id.context("an answer names its event")?;
    ensure!(!id.is_empty(), "an answer names its event");
    Ok(id)
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

    #[test]
    fn a_record_reads_as_it_was_written_but_for_its_torn_end() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"accepted\",\"event_id\":\"evt_7\"}";
        let whole = [line(b'W', "a/b", 9, b"xyz"), line(b'R', "a", 0, b"c"), line(b'A', "", 0, answer)].concat();
        let torn = [whole, line(b'W', "a/b", 9, b"xyz")[..12].to_vec()].concat();
        let trace = Trace::parse(torn).expect("a record");
        let [write, rename, answer] = trace.entries() else { panic!("three entries") };
        let Op::Write { offset: 9, data } = &write.op else { panic!("{write:?}") };
        assert_eq!((write.path.as_str(), trace.data(data)), ("a/b", &b"xyz"[..]));
        assert_eq!(*rename, Entry { path: "a".to_owned(), op: Op::Rename("c".to_owned()) });
        assert_eq!(answer.op, Op::Answer("evt_7".to_owned()));
        assert!(Trace::parse(line(b'?', "", 0, b"")).is_err());
    }
}
