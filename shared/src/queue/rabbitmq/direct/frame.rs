//! AMQP 0-9-1's frames, those of them that publishing needs: <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>.

/// `METHOD`, `HEADER`, `BODY` and `HEARTBEAT` of section 4.2.3.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// The last byte of every frame.
const END: u8 = 0xCE;
/// Type, channel and size before the payload.
const BEFORE: usize = 7;
/// What a frame has beside its payload.
pub(super) const AROUND: usize = BEFORE + 1;
/// What a client says first: the protocol and its version.
pub(super) const GREETING: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// The channel of the connection's own methods.
pub(super) const CONNECTION: u16 = 0;
/// The one channel that is opened on it.
pub(super) const CHANNEL: u16 = 1;

/// A method's class and number.
pub(super) type Method = (u16, u16);

pub(super) mod method {
    //! The methods that are sent or understood.

    use super::Method;

    pub(in super::super) const START: Method = (10, 10);
    pub(in super::super) const START_OK: Method = (10, 11);
    pub(in super::super) const TUNE: Method = (10, 30);
    pub(in super::super) const TUNE_OK: Method = (10, 31);
    pub(in super::super) const OPEN: Method = (10, 40);
    pub(in super::super) const OPEN_OK: Method = (10, 41);
    pub(in super::super) const CONNECTION_CLOSE: Method = (10, 50);
    pub(in super::super) const CONNECTION_CLOSE_OK: Method = (10, 51);
    pub(in super::super) const BLOCKED: Method = (10, 60);
    pub(in super::super) const UNBLOCKED: Method = (10, 61);
    pub(in super::super) const CHANNEL_OPEN: Method = (20, 10);
    pub(in super::super) const CHANNEL_OPEN_OK: Method = (20, 11);
    pub(in super::super) const CHANNEL_FLOW: Method = (20, 20);
    pub(in super::super) const CHANNEL_FLOW_OK: Method = (20, 21);
    pub(in super::super) const CHANNEL_CLOSE: Method = (20, 40);
    pub(in super::super) const PUBLISH: Method = (60, 40);
    pub(in super::super) const RETURN: Method = (60, 50);
    pub(in super::super) const ACK: Method = (60, 80);
    pub(in super::super) const NACK: Method = (60, 120);
    pub(in super::super) const SELECT: Method = (85, 10);
    pub(in super::super) const SELECT_OK: Method = (85, 11);
}

/// The other side does not keep to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker sent {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'b> {
    /// A method with its arguments.
    Method(Method, Arguments<'b>),
    /// The properties of a returned message.
    Header(Arguments<'b>),
    /// A part of a returned message's body, or a sign of life: both say nothing.
    Other,
}

/// The first whole frame in `input`, with its length; `None` if there is not all of one yet.
pub(super) fn read(input: &[u8], frame_max: usize) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some(size) = input.get(3..BEFORE) else { return Ok(None) };
    let size = u32::from_be_bytes(size.try_into().expect("four bytes")) as usize;
    if size.saturating_add(AROUND) > frame_max {
        return Err(Malformed("a frame that is too large"));
    }
    let length = size + AROUND;
    let Some(whole) = input.get(..length) else { return Ok(None) };
    if whole[length - 1] != END {
        return Err(Malformed("a frame without its end"));
    }
    let mut arguments = Arguments(&whole[BEFORE..length - 1]);
    let frame = match whole[0] {
        METHOD => Frame::Method((arguments.short()?, arguments.short()?), arguments),
        HEADER => Frame::Header(arguments),
        BODY | HEARTBEAT => Frame::Other,
        _ => return Err(Malformed("a frame of an unknown type")),
    };
    Ok(Some((frame, length)))
}

/// The arguments of a method, read from the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arguments<'b>(&'b [u8]);

impl<'b> Arguments<'b> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("a frame that ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn octet(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn short(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(|bytes| u16::from_be_bytes(bytes.try_into().expect("two bytes")))
    }

    pub(super) fn long(&mut self) -> Result<u32, Malformed> {
        self.take(4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    }

    pub(super) fn long_long(&mut self) -> Result<u64, Malformed> {
        self.take(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    }

    /// Text of at most 255 bytes. What is not UTF-8 is shown as far as it is.
    pub(super) fn short_text(&mut self) -> Result<String, Malformed> {
        let length = self.octet()?;
        Ok(String::from_utf8_lossy(self.take(length.into())?).into_owned())
    }

    /// Bytes behind their number, such as a long text or a table.
    pub(super) fn long_bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.long()?;
        self.take(length as usize)
    }
}

/// Writes a method's frame, with the arguments that `write` adds.
pub(super) fn put_method(to: &mut Vec<u8>, channel: u16, method: Method, write: impl FnOnce(&mut Vec<u8>)) {
    put_frame(to, METHOD, channel, |to| {
        to.extend(method.0.to_be_bytes());
        to.extend(method.1.to_be_bytes());
        write(to);
    });
}

/// Writes the frame of a message's properties.
pub(super) fn put_header(to: &mut Vec<u8>, body_bytes: usize, flags: u16, write: impl FnOnce(&mut Vec<u8>)) {
    put_frame(to, HEADER, CHANNEL, |to| {
        to.extend(method::PUBLISH.0.to_be_bytes());
        to.extend(0_u16.to_be_bytes()); // the weight, which is not used
        to.extend((body_bytes as u64).to_be_bytes());
        to.extend(flags.to_be_bytes());
        write(to);
    });
}

/// Writes a body in as many frames as it takes.
pub(super) fn put_body(to: &mut Vec<u8>, body: &[u8], frame_max: usize) {
    for part in body.chunks(frame_max - AROUND) {
        put_frame(to, BODY, CHANNEL, |to| to.extend_from_slice(part));
    }
}

/// Writes a sign of life.
pub(super) fn put_heartbeat(to: &mut Vec<u8>) {
    put_frame(to, HEARTBEAT, CONNECTION, |_| {});
}

fn put_frame(to: &mut Vec<u8>, kind: u8, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    to.push(kind);
    to.extend(channel.to_be_bytes());
    put_sized(to, write);
    to.push(END);
}

/// Writes what `write` adds behind its length in four bytes.
pub(super) fn put_sized(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = to.len();
    to.extend([0; 4]);
    write(to);
    let length = u32::try_from(to.len() - at - 4).expect("bounded by the size of a request");
    to[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes bytes behind their length in four bytes.
pub(super) fn put_long(to: &mut Vec<u8>, bytes: &[u8]) {
    put_sized(to, |to| to.extend_from_slice(bytes));
}

/// Writes text behind its length in one byte.
///
/// # Panics
/// Over 255 bytes: the bounds of namespace, source, event type and digests exclude that.
pub(super) fn put_short(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).expect("the parts of every name are bounded so that it fits"));
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4_096;

    #[test]
    fn a_frame_is_read_once_all_of_it_is_there() {
        let mut bytes = Vec::new();
        put_method(&mut bytes, CHANNEL, method::ACK, |to| to.extend([0, 0, 0, 0, 0, 0, 0, 7, 1]));
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], MAX), Ok(None));
        }
        let length = bytes.len();
        put_heartbeat(&mut bytes);
        let (frame, read_bytes) = read(&bytes, MAX).expect("well formed").expect("whole");
        assert_eq!(read_bytes, length);
        let Frame::Method(method::ACK, mut arguments) = frame else { unreachable!("{frame:?}") };
        assert_eq!((arguments.long_long(), arguments.octet()), (Ok(7), Ok(1)));
        assert_eq!(arguments.octet(), Err(Malformed("a frame that ends too early")));
        assert_eq!(read(&bytes[length..], MAX), Ok(Some((Frame::Other, AROUND))));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut bytes = Vec::new();
        put_heartbeat(&mut bytes);
        bytes[AROUND - 1] = 0;
        assert_eq!(read(&bytes, MAX), Err(Malformed("a frame without its end")));
        assert_eq!(read(&[9, 0, 0, 0, 0, 0, 0, END], MAX), Err(Malformed("a frame of an unknown type")));
        assert_eq!(read(&[1, 0, 0, 0xff, 0xff, 0xff, 0xff], MAX), Err(Malformed("a frame that is too large")));
        assert_eq!(read(&[1, 0, 0, 0, 0, 0, 2, 0, 0, END], MAX), Err(Malformed("a frame that ends too early")));
    }

    #[test]
    fn a_large_body_takes_several_frames_and_an_empty_one_none() {
        let body = vec![7; 3 * (MAX - AROUND) + 1];
        let mut bytes = Vec::new();
        put_body(&mut bytes, &body, MAX);
        assert_eq!(bytes.len(), body.len() + 4 * AROUND);
        let mut rest = &bytes[..];
        for _ in 0..4 {
            let (frame, length) = read(rest, MAX).expect("well formed").expect("whole");
            assert_eq!(frame, Frame::Other);
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        bytes.clear();
        put_body(&mut bytes, b"", MAX);
        assert!(bytes.is_empty());
    }
}
