//! What a run writes down while it goes: what it meant to send, what it was answered, what it broke.
//!
//! Three files of lines, each beginning with milliseconds since the round began. An event stands in `intents.log`,
//! fsynced, before its first byte is sent: no effect can be without an intent, whatever dies.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::plan::{Planned, fingerprint};

/// How long before and after an event's own lines the faults are part of its history, in milliseconds.
const AROUND: u64 = 5_000;

/// The files of one round.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    began: Instant,
    intents: Mutex<File>,
    answers: Mutex<BufWriter<File>>,
    faults: Mutex<BufWriter<File>>,
}

impl Journal {
    /// New files in `folder`.
    ///
    /// # Errors
    /// If they cannot be created.
    pub fn create(folder: &Path) -> Result<Self> {
        let file = |name: &str| File::create(folder.join(name)).with_context(|| format!("cannot create {name}"));
        Ok(Self {
            folder: folder.to_owned(),
            began: Instant::now(),
            intents: Mutex::new(file("intents.log")?),
            answers: Mutex::new(BufWriter::new(file("answers.log")?)),
            faults: Mutex::new(BufWriter::new(file("faults.log")?)),
        })
    }

    /// Writes down, durably, what will be sent.
    ///
    /// # Errors
    /// If the disk does not take it: then nothing may be sent.
    pub fn intend(&self, events: &[Planned]) -> Result<()> {
        let at = self.now();
        let line = |event: &Planned| {
            format!("{at} {} {:?} {} {}\n", event.number, event.kind, event.body.len(), fingerprint(&event.body))
        };
        let lines: String = events.iter().map(line).collect();
        let mut file = lock(&self.intents);
        file.write_all(lines.as_bytes())?;
        Ok(file.sync_data()?)
    }

    /// Writes down what an event's sender was answered.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn answered(&self, number: u64, answer: &str) -> Result<()> {
        Ok(writeln!(lock(&self.answers), "{} {number} {answer}", self.now())?)
    }

    /// Writes down what was broken or mended.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn fault(&self, what: &str) -> Result<()> {
        Ok(writeln!(lock(&self.faults), "{} {what}", self.now())?)
    }

    /// Everything that was written down of an event, and the faults around it, in order of time.
    ///
    /// # Errors
    /// If the files cannot be read.
    pub fn history(&self, number: u64) -> Result<Vec<String>> {
        lock(&self.answers).flush()?;
        lock(&self.faults).flush()?;
        let wanted = number.to_string();
        let mut lines = Vec::new();
        for name in ["intents.log", "answers.log"] {
            let text = std::fs::read_to_string(self.folder.join(name))?;
            let own = text.lines().filter(|line| line.split(' ').nth(1) == Some(&wanted));
            lines.extend(own.map(|line| (time_of(line), format!("{name}: {line}"))));
        }
        let first = lines.iter().map(|(at, _)| *at).min().unwrap_or(0).saturating_sub(AROUND);
        let last = lines.iter().map(|(at, _)| *at).max().unwrap_or(0).saturating_add(AROUND);
        let faults = std::fs::read_to_string(self.folder.join("faults.log"))?;
        let around = faults.lines().filter(|line| (first..=last).contains(&time_of(line)));
        lines.extend(around.map(|line| (time_of(line), format!("faults.log: {line}"))));
        lines.sort();
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    fn now(&self) -> u128 {
        self.began.elapsed().as_millis()
    }
}

fn time_of(line: &str) -> u64 {
    line.split(' ').next().and_then(|at| at.parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn a_history_is_of_one_event_with_the_faults_around_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let journal = Journal::create(folder.path())?;
        journal.intend(&[Plan { seed: 1 }.event(1), Plan { seed: 1 }.event(11)])?;
        journal.answered(11, "503 unavailable")?;
        journal.fault("killed RabbitMQ")?;
        journal.answered(1, "200 accepted")?;
        let history = journal.history(1)?.join("\n");
        assert!(history.contains("killed RabbitMQ") && history.contains("200 accepted"), "{history}");
        assert!(!history.contains("503"), "{history}");
        Ok(())
    }
}
