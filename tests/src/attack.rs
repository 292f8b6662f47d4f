//! What hostile clients send, over plain sockets, and the honest traffic that must not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use crate::eventually::eventually;
use crate::sender::{self, client, send};

/// How long any answer may take: a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets this process, and those that it starts from now on, open so many files.
///
/// # Errors
/// If the system allows fewer.
pub fn allow_open_files(needed: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
        raised.with_context(|| format!("{needed} open files are needed, {maximum:?} allowed; raise ulimit -Hn"))?;
    }
    Ok(())
}

/// Sends `bytes`, and reads until the server closes the connection.
///
/// # Errors
/// If it does not within half a minute.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    // A server that has seen enough may close before all is sent.
    let sent = stream.write_all(bytes).await;
    read_to_end(&mut stream).await.with_context(|| format!("after sending: {sent:?}"))
}

/// Reads until the server closes the connection, or resets it.
///
/// # Errors
/// If it does not within half a minute.
pub async fn read_to_end(stream: &mut TcpStream) -> Result<String> {
    let (mut all, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut part)).await;
        match read.with_context(|| format!("still open: {}", String::from_utf8_lossy(&all)))? {
            Ok(0) | Err(_) => return Ok(String::from_utf8_lossy(&all).into_owned()),
            Ok(count) => all.extend_from_slice(&part[..count]),
        }
    }
}

/// Reads one answer, up to the end of its head, and whatever came with that.
///
/// # Errors
/// If none comes.
pub async fn read_answer(stream: &mut TcpStream) -> Result<String> {
    let (mut all, mut part) = (Vec::new(), [0; 4_096]);
    while !all.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut part)).await.context("no answer")??;
        ensure!(count > 0, "closed after {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&part[..count]);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// The head of a POST to `path`, with these lines in it.
#[must_use]
pub fn post(path: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{lines}\r\n")
}

/// Honest senders of GitHub events, a few at once, until they are stopped.
#[derive(Debug)]
pub struct Honest {
    stop: Arc<AtomicBool>,
    started: Instant,
    senders: Vec<JoinHandle<Result<usize>>>,
}

impl Honest {
    /// Starts them; `name` tells their events from others.
    #[must_use]
    pub fn start(url: &str, name: &str, at_once: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = client();
        let senders = (0..at_once).map(|number| {
            let (stop, client) = (Arc::clone(&stop), client.clone());
            let (url, name) = (url.to_owned(), format!("{name}-{number}"));
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = send(&client, &url, &sender::github(&format!("{name}-{count}"), "push", "{}")).await?;
                    ensure!(answer.outcome() == "accepted", "an honest event was answered {answer:?}");
                    count += 1;
                }
                Ok(count)
            })
        });
        Self { senders: senders.collect(), started: Instant::now(), stop }
    }

    /// Stops them, and says how many events a second were accepted.
    ///
    /// # Errors
    /// If one was not, or none was sent.
    pub async fn end(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs_f64();
        let counts = try_join_all(self.senders).await?.into_iter().collect::<Result<Vec<_>>>()?;
        let sent: usize = counts.iter().sum();
        ensure!(sent > 0, "no honest event was sent");
        Ok(sent as f64 / seconds)
    }
}

/// How the clients of a [`Crowd`] hold their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// They say nothing.
    Idle,
    /// They send a head, a header a second.
    Slow,
}

/// Many clients that never send a whole request, each on one connection after the other.
#[derive(Debug)]
pub struct Crowd {
    open: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Crowd {
    /// Connects them; nine in ten are there when it returns.
    ///
    /// # Errors
    /// If the server does not take their connections.
    pub async fn gather(to: SocketAddr, count: usize, manner: Manner) -> Result<Self> {
        let (open, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = JoinSet::new();
        for _ in 0..count {
            clients.spawn(dawdle(to, manner, Arc::clone(&open), Arc::clone(&stop)));
        }
        eventually("the crowd is connected", PATIENCE, || async {
            let open = open.load(Ordering::Relaxed);
            if open >= count * 9 / 10 { Ok(()) } else { Err(format!("{open} of {count} are")) }
        })
        .await?;
        Ok(Self { open, stop, clients })
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Sends them home.
    pub async fn disperse(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
    }
}

async fn dawdle(to: SocketAddr, manner: Manner, open: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(to).await else { continue };
        open.fetch_add(1, Ordering::Relaxed);
        let mut next = post("/webhooks/github", &[]).into_bytes();
        // All but the line that ends the head.
        next.truncate(next.len() - 2);
        loop {
            if manner == Manner::Slow && stream.write_all(&next).await.is_err() {
                break;
            }
            next = b"x-a: b\r\n".to_vec();
            // Nothing is ever answered: whatever is read is the end.
            let ended = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0])).await;
            if ended.is_ok() || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        open.fetch_sub(1, Ordering::Relaxed);
    }
}
