//! One connection to the broker with one channel in confirm mode: its socket, its handshake, its signs of life.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use lapin::uri::AMQPUri;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::super::silence::end_when_silent;
use super::encoded::{Encoded, message_id};
use super::frame::{
    Arguments, CHANNEL, CONNECTION, Frame, GREETING, Malformed, Method, method, put_body, put_heartbeat, put_long,
    put_method, put_short, put_sized, read,
};

/// Time for the TCP connection, and again for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the broker to answer a close; then the socket is closed all the same.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest frame that is sent or taken, in bytes: RabbitMQ's default.
const FRAME_MAX: usize = 131_072;
/// Smallest that the protocol lets a broker ask for.
const FRAME_MIN: usize = 4_096;
/// Bytes that were written and still stand before those that wait; then these move to their place.
const WRITTEN_MAX: usize = 256 * 1_024;
/// Bytes of room that are kept when nothing waits.
const ROOM_KEPT: usize = 1_024 * 1_024;
/// Bytes read at once.
const READ_BYTES: usize = 32 * 1_024;

/// Why a session ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The socket failed, or was closed by the other side.
    #[error("the connection failed")]
    Socket(#[from] std::io::Error),
    /// The broker was silent.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The other side does not speak AMQP as we do.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The broker ended the connection or the channel, with its reply code.
    #[error("the broker closed with {code}: {text}")]
    Closed {
        /// AMQP's reply code.
        code: u16,
        /// Its words.
        text: String,
    },
}

impl SessionError {
    /// The reply code with which the broker closed.
    pub(super) fn reply_code(&self) -> Option<u16> {
        match self {
            Self::Closed { code, .. } => Some(*code),
            Self::Socket(_) | Self::Silent(_) | Self::Malformed(_) => None,
        }
    }
}

/// What the broker said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has a message, or all of them up to this one.
    Ack {
        /// The number of the publish on this channel, from 1.
        tag: u64,
        /// Whether all before it are meant too.
        multiple: bool,
    },
    /// It has not.
    Nack {
        /// As before.
        tag: u64,
        /// As before.
        multiple: bool,
    },
    /// No queue takes a message; its ack follows.
    Returned {
        /// Its `message_id`.
        message_id: String,
        /// The broker's reason.
        reason: String,
    },
    /// It takes no publishes, for this alarm.
    Blocked(String),
    /// It takes them again.
    Unblocked,
}

/// An open channel in confirm mode.
pub(super) struct Session {
    stream: TcpStream,
    input: BytesMut,
    output: Output,
    pub(super) frame_max: usize,
    heartbeat: Duration,
    last_read: Instant,
    last_write: Instant,
    /// A returned message whose properties have not come yet.
    returning: Option<String>,
    heard: VecDeque<Heard>,
}

/// What waits to be written, after what was.
struct Output {
    bytes: Vec<u8>,
    /// Bytes that are written already.
    written: usize,
}

impl Output {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// That many more are written. Their room is used again, so that a broker which is always behind does not make it
    /// grow, and one large body does not keep it.
    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(ROOM_KEPT);
            self.written = 0;
        } else if self.written >= WRITTEN_MAX {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

impl Session {
    /// Connects as `name` (what the broker's listings show), opens the channel and switches it to confirm mode.
    pub(super) async fn open(uri: &AMQPUri, name: &str) -> Result<Self, SessionError> {
        let dialled = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port));
        let stream = timeout(CONNECT_TIMEOUT, dialled).await.map_err(|_| SessionError::Silent(CONNECT_TIMEOUT))??;
        stream.set_nodelay(true)?;
        end_when_silent(&stream)?;
        let now = Instant::now();
        let mut session = Self {
            stream,
            input: BytesMut::with_capacity(READ_BYTES),
            output: Output { bytes: GREETING.to_vec(), written: 0 },
            frame_max: FRAME_MAX,
            heartbeat: Duration::from_secs(uri.query.heartbeat.unwrap_or(super::super::HEARTBEAT_SECONDS).into()),
            last_read: now,
            last_write: now,
            returning: None,
            heard: VecDeque::new(),
        };
        let shaken = timeout(CONNECT_TIMEOUT, session.shake_hands(uri, name));
        shaken.await.map_err(|_| SessionError::Silent(CONNECT_TIMEOUT))??;
        Ok(session)
    }

    async fn shake_hands(&mut self, uri: &AMQPUri, name: &str) -> Result<(), SessionError> {
        self.expect(method::START, |_| Ok(())).await?;
        let user = &uri.authority.userinfo;
        put_method(&mut self.output.bytes, CONNECTION, method::START_OK, |to| {
            put_sized(to, |to| put_client(to, name));
            put_short(to, "PLAIN");
            put_long(to, format!("\0{}\0{}", user.username, user.password).as_bytes());
            put_short(to, "en_US");
        });
        let offered = |mut arguments: Arguments<'_>| Ok((arguments.short()?, arguments.long()?, arguments.short()?));
        let (_, frame_max, heartbeat) = self.expect(method::TUNE, offered).await?;
        if frame_max > 0 {
            self.frame_max = (frame_max as usize).clamp(FRAME_MIN, FRAME_MAX);
        }
        if heartbeat > 0 {
            self.heartbeat = self.heartbeat.min(Duration::from_secs(heartbeat.into()));
        }
        let (frame_max, heartbeat) = (self.frame_max as u32, self.heartbeat.as_secs() as u16);
        put_method(&mut self.output.bytes, CONNECTION, method::TUNE_OK, |to| {
            to.extend(CHANNEL.to_be_bytes()); // no more channels than the one
            to.extend(frame_max.to_be_bytes());
            to.extend(heartbeat.to_be_bytes());
        });
        put_method(&mut self.output.bytes, CONNECTION, method::OPEN, |to| {
            put_short(to, &uri.vhost);
            to.extend([0, 0]); // reserved
        });
        self.expect(method::OPEN_OK, |_| Ok(())).await?;
        put_method(&mut self.output.bytes, CHANNEL, method::CHANNEL_OPEN, |to| to.push(0));
        self.expect(method::CHANNEL_OPEN_OK, |_| Ok(())).await?;
        put_method(&mut self.output.bytes, CHANNEL, method::SELECT, |to| to.push(0));
        self.expect(method::SELECT_OK, |_| Ok(())).await
    }

    /// Writes what waits, then reads until this method comes; says what `arguments` makes of it.
    async fn expect<T>(
        &mut self,
        wanted: Method,
        arguments: impl FnOnce(Arguments<'_>) -> Result<T, Malformed>,
    ) -> Result<T, SessionError> {
        loop {
            if let Some((frame, length)) = read(&self.input, self.frame_max)? {
                let Frame::Method(got, mut given) = frame else {
                    self.input.advance(length);
                    continue;
                };
                if got == wanted {
                    let made = arguments(given)?;
                    self.input.advance(length);
                    return Ok(made);
                }
                return Err(match got {
                    method::CONNECTION_CLOSE | method::CHANNEL_CLOSE => closed(&mut given)?,
                    _ => Malformed("another method than the one that was due").into(),
                });
            }
            self.exchange().await?;
        }
    }

    /// Says what the broker says next, and writes what waits meanwhile.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing that was read is lost.
    pub(super) async fn hear(&mut self) -> Result<Heard, SessionError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            self.exchange().await?;
            self.understand()?;
        }
    }

    /// The next thing that was said and read already.
    pub(super) fn heard_already(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    fn understand(&mut self) -> Result<(), SessionError> {
        let mut consumed = 0;
        while let Some((frame, length)) = read(&self.input[consumed..], self.frame_max)? {
            match frame {
                Frame::Method(got, mut given) => match got {
                    method::ACK => {
                        let (tag, bits) = (given.long_long()?, given.octet()?);
                        self.heard.push_back(Heard::Ack { tag, multiple: bits & 1 != 0 });
                    }
                    method::NACK => {
                        let (tag, bits) = (given.long_long()?, given.octet()?);
                        self.heard.push_back(Heard::Nack { tag, multiple: bits & 1 != 0 });
                    }
                    method::RETURN => {
                        let (code, text) = (given.short()?, given.short_text()?);
                        let (exchange, key) = (given.short_text()?, given.short_text()?);
                        let to = if exchange.is_empty() { "the default exchange" } else { &exchange };
                        self.returning = Some(format!("{code} {text}, for {key} at {to}"));
                    }
                    method::BLOCKED => self.heard.push_back(Heard::Blocked(given.short_text()?)),
                    method::UNBLOCKED => self.heard.push_back(Heard::Unblocked),
                    method::CHANNEL_FLOW => {
                        // RabbitMQ stops reading instead of asking with this; whoever asks is told that we obey.
                        let active = given.octet()?;
                        put_method(&mut self.output.bytes, CHANNEL, method::CHANNEL_FLOW_OK, |to| to.push(active));
                    }
                    method::CONNECTION_CLOSE => {
                        let error = closed(&mut given)?;
                        put_method(&mut self.output.bytes, CONNECTION, method::CONNECTION_CLOSE_OK, |_| {});
                        self.write_what_fits()?;
                        return Err(error);
                    }
                    method::CHANNEL_CLOSE => return Err(closed(&mut given)?),
                    _ => return Err(Malformed("a method that nobody asked for").into()),
                },
                Frame::Header(properties) => {
                    if let Some(reason) = self.returning.take() {
                        self.heard.push_back(Heard::Returned { message_id: message_id(properties)?, reason });
                    }
                }
                Frame::Other => {}
            }
            consumed += length;
        }
        self.input.advance(consumed);
        Ok(())
    }

    /// Adds a publish to what is to be written.
    pub(super) fn put(&mut self, publish: &Encoded) {
        self.output.bytes.extend_from_slice(&publish.head);
        put_body(&mut self.output.bytes, &publish.body, self.frame_max);
    }

    /// Bytes that wait to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.output.waiting().len()
    }

    pub(super) fn has_output(&self) -> bool {
        self.unwritten() > 0
    }

    /// Writes as much as the socket takes now.
    pub(super) fn write_what_fits(&mut self) -> Result<(), SessionError> {
        while self.has_output() {
            match self.stream.try_write(self.output.waiting()) {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::WriteZero).into()),
                Ok(count) => {
                    self.output.advance(count);
                    self.last_write = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until the socket has something or, if something waits to be written, takes something; then does both.
    ///
    /// # Cancel safety
    /// Cancel safe: it waits before it reads or writes anything.
    async fn exchange(&mut self) -> Result<(), SessionError> {
        let wanted = if self.has_output() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = self.stream.ready(wanted).await?;
        if ready.is_writable() {
            self.write_what_fits()?;
        }
        if !ready.is_readable() {
            return Ok(());
        }
        self.input.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(_) => {
                self.last_read = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a sign of life where one is due, and gives up a broker that has sent none for twice its time:
    /// <https://www.rabbitmq.com/docs/heartbeats>.
    pub(super) fn keep_alive(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.heartbeat.is_zero() {
            return Ok(());
        }
        if now.duration_since(self.last_read) > 2 * self.heartbeat {
            return Err(SessionError::Silent(2 * self.heartbeat));
        }
        // While something waits to be written, that is the sign.
        if !self.has_output() && now.duration_since(self.last_write) >= self.heartbeat / 2 {
            put_heartbeat(&mut self.output.bytes);
            self.write_what_fits()?;
        }
        Ok(())
    }

    /// Closes the connection in agreement with the broker, or without it if that takes too long.
    pub(super) async fn close(mut self) {
        const SUCCESS: u16 = 200;
        put_method(&mut self.output.bytes, CONNECTION, method::CONNECTION_CLOSE, |to| {
            to.extend(SUCCESS.to_be_bytes());
            put_short(to, "OK");
            to.extend([0; 4]); // no method is to blame
        });
        let closed = timeout(CLOSE_TIMEOUT, self.expect(method::CONNECTION_CLOSE_OK, |_| Ok(()))).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::debug!("the connection was gone before it was closed");
        }
    }
}

/// Who we are, and which of the broker's extensions we understand: <https://www.rabbitmq.com/docs/connections>.
fn put_client(to: &mut Vec<u8>, name: &str) {
    for (key, value) in [("product", "tidegate"), ("version", env!("CARGO_PKG_VERSION")), ("connection_name", name)] {
        put_short(to, key);
        to.push(b'S');
        put_long(to, value.as_bytes());
    }
    put_short(to, "capabilities");
    to.push(b'F');
    put_sized(to, |to| {
        for capability in ["publisher_confirms", "basic.nack", "connection.blocked", "authentication_failure_close"] {
            put_short(to, capability);
            to.extend(*b"t\x01");
        }
    });
}

fn closed(arguments: &mut Arguments<'_>) -> Result<SessionError, Malformed> {
    Ok(SessionError::Closed { code: arguments.short()?, text: arguments.short_text()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_keeps_its_order_and_its_room_however_far_behind_the_broker_is() {
        let mut output = Output { bytes: Vec::new(), written: 0 };
        let (mut put, mut taken) = (0_u64, 0_u64);
        for _ in 0..100_000 {
            output.bytes.extend((put..put + 10).flat_map(u64::to_be_bytes));
            put += 10;
            // Never all: it is always 10 behind.
            for _ in 0..10.min(put - 10) {
                assert_eq!(output.waiting()[..8], taken.to_be_bytes());
                taken += 1;
                output.advance(8);
            }
        }
        assert_eq!(output.waiting().len(), 80);
        assert!(output.bytes.capacity() <= 2 * (WRITTEN_MAX + 160), "{}", output.bytes.capacity());

        output.bytes.extend(vec![0; 8 * ROOM_KEPT]);
        output.advance(output.waiting().len());
        assert!(output.waiting().is_empty() && output.bytes.capacity() <= ROOM_KEPT, "{}", output.bytes.capacity());
    }
}
