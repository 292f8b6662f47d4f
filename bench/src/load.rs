//! The load: a process of its own that sends signed events and measures each answer.
//!
//! Everything is signed before the clock starts. It speaks HTTP/1.1 over plain sockets, as a client library would cost
//! more than the server that is measured.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// The key of the source under load: `whsec_` and its base64 is what the configuration holds.
pub const KEY: &[u8; 32] = b"tidegate-bench-key-of-32-bytes..";
/// Bytes of one body.
const BODY_BYTES: usize = 1_024;
/// Longest answer that is read.
const ANSWER_MAX: usize = 16 * 1_024;
/// Events that may wait for a connection in open loop; past that the server is hopelessly behind.
const BACKLOG_MAX: usize = 65_536;

/// What to send.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Where to.
    #[arg(long)]
    pub to: SocketAddr,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Events at most; the load ends when they are sent.
    #[arg(long, default_value_t = 200_000)]
    pub events: usize,
    /// In closed loop, sends the first one again after the last: for a server that does not tell them apart.
    #[arg(long)]
    pub again: bool,
    /// Events a second, whatever the answers take; without it each connection sends when it has its answer.
    #[arg(long)]
    pub rate: Option<f64>,
    /// What ids begin with, so that no two loads share one.
    #[arg(long)]
    pub ids: String,
    /// Where to write when each event was answered, as lines of `number microseconds-since-1970`.
    #[arg(long)]
    pub answers: Option<PathBuf>,
}

/// What came of it, within the measured time.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Answers 200.
    pub accepted: u64,
    /// Any other answer.
    pub refused: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Latencies in microseconds: of closed loop from the first byte sent, of open loop from the scheduled time.
    pub p50: u64,
    /// As before.
    pub p99: u64,
    /// As before.
    pub max: u64,
}

/// A body of about 1 KiB of JSON; its number is what tells events apart.
#[must_use]
pub fn body(number: usize) -> String {
    let head = format!(r#"{{"type":"bench.event","number":{number},"data":""#);
    let filler = "0123456789abcdef".chars().cycle().take(BODY_BYTES - head.len() - 2).collect::<String>();
    format!("{head}{filler}\"}}")
}

/// One signed request, as it goes over the wire: Standard Webhooks.
fn request(ids: &str, number: usize, now: i64) -> Vec<u8> {
    let (id, body) = (format!("{ids}-{number}"), body(number));
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key of any length");
    mac.update(format!("{id}.{now}.{body}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let length = body.len();
    format!(
        "POST /webhooks/bench HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nuser-agent: bench\r\n\
         webhook-id: {id}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: v1,{signature}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Everything that the connections share.
struct Shared {
    requests: Vec<Vec<u8>>,
    again: bool,
    next: AtomicUsize,
    measured: AtomicBool,
    over: AtomicBool,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<u64>,
    refused: u64,
    answers: Vec<(usize, i64)>,
}

/// Sends the load; says `begin` and `end` on standard output as the measured time begins and ends, then what came of it.
///
/// # Errors
/// If the server cannot be reached, or breaks off.
#[expect(clippy::print_stdout, reason = "how the measuring process learns when")]
pub fn run(plan: &Plan) -> Result<()> {
    let now = Timestamp::now().as_second();
    let requests: Vec<Vec<u8>> = (0..plan.events).map(|number| request(&plan.ids, number, now)).collect();
    let (measured, over) = (false.into(), false.into());
    let shared = Arc::new(Shared { requests, again: plan.again, next: 0.into(), measured, over });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime.block_on(send(plan, &shared))?;
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "as above")]
async fn send(plan: &Plan, shared: &Arc<Shared>) -> Result<Sent> {
    let mut connections = JoinSet::new();
    let mut streams = Vec::new();
    for _ in 0..plan.connections {
        let stream = TcpStream::connect(plan.to).await.context("the server cannot be reached")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let due = plan.rate.map(|rate| schedule(rate, Arc::clone(shared)));
    let due = due.map(|due| Arc::new(Mutex::new(due)));
    for stream in streams {
        connections.spawn(talk(stream, Arc::clone(shared), due.clone(), plan.answers.is_some()));
    }
    tokio::time::sleep(Duration::from_secs_f64(plan.warm_up)).await;
    println!("begin");
    std::io::stdout().flush()?;
    shared.measured.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let until_all_are_sent = async {
        while shared.again || shared.next.load(Ordering::Relaxed) < shared.requests.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(plan.seconds)) => {}
        () = until_all_are_sent => {}
    }
    shared.measured.store(false, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    println!("end");
    std::io::stdout().flush()?;
    shared.over.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    while let Some(seen) = connections.join_next().await {
        let seen = seen??;
        all.latencies.extend(seen.latencies);
        all.answers.extend(seen.answers);
        all.refused += seen.refused;
    }
    if let Some(path) = &plan.answers {
        let lines: String = all.answers.iter().map(|(number, at)| format!("{number} {at}\n")).collect();
        std::fs::write(path, lines)?;
    }
    all.latencies.sort_unstable();
    let at = |share: f64| percentile(&all.latencies, share);
    let accepted = all.latencies.len() as u64;
    Ok(Sent { accepted, refused: all.refused, seconds, p50: at(0.5), p99: at(0.99), max: at(1.0) })
}

/// Says of each event when it is due. A thread of its own, since the runtime's timers count whole milliseconds.
fn schedule(rate: f64, shared: Arc<Shared>) -> mpsc::Receiver<(usize, Instant)> {
    let (sender, due) = mpsc::channel(BACKLOG_MAX);
    std::thread::spawn(move || {
        let began = Instant::now();
        for number in 0..shared.requests.len() {
            let at = began + Duration::from_secs_f64(number as f64 / rate);
            if let Some(wait) = at.checked_duration_since(Instant::now()) {
                sleep(wait);
            }
            shared.next.store(number + 1, Ordering::Relaxed);
            if shared.over.load(Ordering::Relaxed) || sender.blocking_send((number, at)).is_err() {
                return;
            }
        }
    });
    due
}

#[expect(clippy::disallowed_methods, reason = "a thread that does nothing else")]
fn sleep(wait: Duration) {
    std::thread::sleep(wait);
}

type Due = Arc<Mutex<mpsc::Receiver<(usize, Instant)>>>;

/// One connection: a request, its answer, the next.
async fn talk(mut stream: TcpStream, shared: Arc<Shared>, due: Option<Due>, keep_answers: bool) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut buffer = Vec::with_capacity(ANSWER_MAX);
    while !shared.over.load(Ordering::Relaxed) {
        let (number, began) = match &due {
            None => (shared.next.fetch_add(1, Ordering::Relaxed), Instant::now()),
            Some(due) => match due.lock().await.recv().await {
                Some(event) => event,
                None => break,
            },
        };
        let place = if shared.again { number % shared.requests.len() } else { number };
        let Some(request) = shared.requests.get(place) else { break };
        stream.write_all(request).await?;
        let status = read_answer(&mut stream, &mut buffer).await?;
        if shared.measured.load(Ordering::Relaxed) {
            if status == 200 {
                seen.latencies.push(u64::try_from(began.elapsed().as_micros())?);
            } else {
                seen.refused += 1;
            }
        }
        if keep_answers && status == 200 {
            seen.answers.push((number, Timestamp::now().as_microsecond()));
        }
    }
    Ok(seen)
}

/// Reads one whole answer and says its status. The servers measured announce every body's length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16> {
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await?;
        ensure!(read > 0, "the server broke off");
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            ensure!(buffer.len() < ANSWER_MAX, "the answer's head is too long");
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head])?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.context("the answer has no length")?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).context("the answer has no status")?;
        while buffer.len() < head + 4 + length {
            ensure!(stream.read_buf(buffer).await? > 0, "the server broke off");
        }
        if buffer.len() > head + 4 + length {
            bail!("the answer is longer than it says");
        }
        return Ok(status);
    }
}

/// Percentile of sorted numbers, the nearest one.
#[must_use]
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_one_kibibyte() {
        let text = body(7);
        assert_eq!(text.len(), BODY_BYTES);
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(parsed["number"], 7);
    }

    #[test]
    fn percentiles_are_the_nearest_of_what_was_seen() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| percentile(&sorted, share)), [1, 51, 99, 100]);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
