//! The raw publisher: what one connection can publish to this broker if nothing else is to be done.
//!
//! One thread, one socket, every frame but its delivery tag made in advance, so many in flight, each confirmed. Nothing
//! of it is Tidegate's: it is the limit that the ingest is held against.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::load::{Sent, body};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
/// What a frame has beside its payload.
const AROUND: usize = 8;
/// The channel of everything but the connection's own methods.
const CHANNEL: u16 = 1;

/// What to publish.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The broker.
    #[arg(long)]
    pub to: SocketAddr,
    /// The exchange.
    #[arg(long)]
    pub exchange: String,
    /// The routing key.
    #[arg(long)]
    pub routing_key: String,
    /// Messages that wait for their confirm at most.
    #[arg(long, default_value_t = 64)]
    pub in_flight: u64,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Messages at most.
    #[arg(long)]
    pub messages: Option<u64>,
}

/// Publishes; says `begin` and `end` as [`crate::load::run`] does.
///
/// # Errors
/// If the broker refuses something.
#[expect(clippy::print_stdout, reason = "how the measuring process learns when")]
pub fn run(plan: &Plan) -> Result<()> {
    let mut connection = Connection::open(plan.to)?;
    let message = message(plan);
    let (mut published, mut confirmed) = (0_u64, 0_u64);
    let started = Instant::now();
    let (warm, length) = (Duration::from_secs_f64(plan.warm_up), Duration::from_secs_f64(plan.seconds));
    let mut began: Option<(Instant, u64)> = None;
    let limit = plan.messages.unwrap_or(u64::MAX);
    while confirmed < limit {
        if began.is_none() && started.elapsed() >= warm {
            began = Some((Instant::now(), confirmed));
            println!("begin");
        }
        if began.is_some_and(|(at, _)| at.elapsed() >= length) {
            break;
        }
        let room = (plan.in_flight - (published - confirmed)).min(limit - published);
        if room > 0 {
            let burst = message.repeat(usize::try_from(room)?);
            connection.stream.write_all(&burst)?;
            published += room;
        }
        confirmed = connection.confirmed(confirmed)?;
    }
    let (at, before) = began.unwrap_or((started, 0));
    let seconds = at.elapsed().as_secs_f64();
    println!("end");
    let sent = Sent { accepted: confirmed - before, seconds, ..Sent::default() };
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, buffer: Vec::new() };
        connection.stream.write_all(b"AMQP\0\0\x09\x01")?;
        connection.expect(10, 10)?;
        let mut start_ok = method(10, 11);
        start_ok.extend(0_u32.to_be_bytes());
        short(&mut start_ok, "PLAIN");
        long(&mut start_ok, b"\0guest\0guest");
        short(&mut start_ok, "en_US");
        connection.send(0, &start_ok)?;
        let tune = connection.expect(10, 30)?;
        let mut tune_ok = method(10, 31);
        tune_ok.extend(&tune[4..10]);
        tune_ok.extend(0_u16.to_be_bytes());
        connection.send(0, &tune_ok)?;
        let mut open = method(10, 40);
        short(&mut open, "/");
        open.extend([0, 0]);
        connection.send(0, &open)?;
        connection.expect(10, 41)?;
        let mut channel = method(20, 10);
        short(&mut channel, "");
        connection.send(CHANNEL, &channel)?;
        connection.expect(20, 11)?;
        let mut select = method(85, 10);
        select.push(0);
        connection.send(CHANNEL, &select)?;
        connection.expect(85, 11)?;
        Ok(connection)
    }

    fn send(&mut self, channel: u16, payload: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(&frame(METHOD, channel, payload))?)
    }

    /// The next frame's payload, which must be this method.
    fn expect(&mut self, class: u16, id: u16) -> Result<Vec<u8>> {
        let payload = self.next()?;
        ensure!(payload[..4] == method(class, id), "the broker answered {:?}", &payload[..4.min(payload.len())]);
        Ok(payload)
    }

    fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(length) = self.whole_frame() {
                let payload = self.buffer[7..length - 1].to_vec();
                self.buffer.drain(..length);
                return Ok(payload);
            }
            self.fill()?;
        }
    }

    fn whole_frame(&self) -> Option<usize> {
        let size = self.buffer.get(3..7)?;
        let length = u32::from_be_bytes(size.try_into().ok()?) as usize + AROUND;
        (self.buffer.len() >= length).then_some(length)
    }

    fn fill(&mut self) -> Result<()> {
        let mut chunk = [0; 16_384];
        let read = self.stream.read(&mut chunk)?;
        ensure!(read > 0, "the broker closed the connection");
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    /// Waits for confirms, and says up to which tag everything is confirmed: the broker confirms a queue's in order.
    fn confirmed(&mut self, before: u64) -> Result<u64> {
        let mut confirmed = before;
        loop {
            let payload = self.next()?;
            match payload.get(..4) {
                Some([0, 60, 0, 80]) => {
                    let tag = payload.get(4..12).and_then(|tag| tag.try_into().ok()).context("a tag")?;
                    confirmed = confirmed.max(u64::from_be_bytes(tag));
                }
                // A heartbeat has no payload.
                None => {}
                Some(other) => bail!("the broker answered {other:?}"),
            }
            if confirmed > before && self.whole_frame().is_none() {
                return Ok(confirmed);
            }
        }
    }
}

/// One message with as many properties and headers as an event has.
fn message(plan: &Plan) -> Vec<u8> {
    let body = body(0);
    let mut publish = method(60, 40);
    publish.extend([0, 0]);
    short(&mut publish, &plan.exchange);
    short(&mut publish, &plan.routing_key);
    publish.push(1); // mandatory
    let mut header = Vec::new();
    header.extend(60_u16.to_be_bytes());
    header.extend(0_u16.to_be_bytes());
    header.extend((body.len() as u64).to_be_bytes());
    // Content type, headers, delivery mode, message id, timestamp, type, application: from the 16th bit down.
    header.extend(0b1011_0000_1110_1000_u16.to_be_bytes());
    short(&mut header, "application/json");
    let mut table = Vec::new();
    for (name, bytes) in [
        ("tg-version", 1),
        ("tg-source", 5),
        ("tg-event-id", 24),
        ("tg-received-at", 30),
        ("tg-request-id", 36),
        ("tg-body-hash", 64),
        ("tg-fingerprint", 64),
        ("traceparent", 55),
        ("tg-attempt", 1),
        ("http-host", 9),
        ("http-content-type", 16),
        ("http-user-agent", 5),
        ("http-webhook-id", 24),
        ("http-webhook-timestamp", 10),
        ("http-webhook-signature", 47),
        ("http-content-length", 4),
    ] {
        short(&mut table, name);
        table.push(b'S');
        long(&mut table, &vec![b'x'; bytes]);
    }
    long(&mut header, &table);
    header.push(2); // persistent
    short(&mut header, &"a".repeat(64));
    header.extend(0_u64.to_be_bytes());
    short(&mut header, "bench.event");
    short(&mut header, "tidegate");
    [frame(METHOD, CHANNEL, &publish), frame(HEADER, CHANNEL, &header), frame(BODY, CHANNEL, body.as_bytes())].concat()
}

fn method(class: u16, id: u16) -> Vec<u8> {
    [class.to_be_bytes(), id.to_be_bytes()].concat()
}

fn short(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).expect("a short string"));
    to.extend(text.as_bytes());
}

fn long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).expect("a long string").to_be_bytes());
    to.extend(bytes);
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    long(&mut frame, payload);
    frame.push(FRAME_END);
    frame
}
