//! The end of a connection whose request was answered before all of it was read.
//!
//! Closing a socket that holds unread bytes resets it, and the reset takes the answer along that the client has not read
//! yet. So the answer is followed by the end of our side, and what still comes is read for a moment and thrown away.

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a client may take to notice that it was answered.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are thrown away meanwhile: senders that read no answer before all is sent have small bodies.
const LINGER_BYTES: usize = 1 << 20;
/// Bytes read at once.
const SCRATCH: usize = 8 << 10;

/// A connection that ends as above. Nothing is kept of what comes then.
#[derive(Debug)]
pub(super) struct Lingering {
    io: TokioIo<TcpStream>,
    stage: Stage,
    /// Nobody is waited for once the process stops.
    shutdown: CancellationToken,
}

#[derive(Debug)]
enum Stage {
    Open,
    Lingering { left: usize, until: Pin<Box<Timeout<WaitForCancellationFutureOwned>>> },
    Closed,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream, shutdown: CancellationToken) -> Self {
        Self { io: TokioIo::new(stream), stage: Stage::Open, shutdown }
    }

    /// Throws away what comes; says when it is enough.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Lingering { left, until } = &mut self.stage else { return Poll::Ready(()) };
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        while *left > 0 {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(self.io.inner_mut()).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *left = left.saturating_sub(buffer.filled().len())
                }
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return until.as_mut().poll(cx).map(drop),
            }
        }
        Poll::Ready(())
    }
}

impl Read for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stage::Open = self.stage {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            let until = tokio::time::timeout(LINGER, self.shutdown.clone().cancelled_owned());
            self.stage = Stage::Lingering { left: LINGER_BYTES, until: Box::pin(until) };
        }
        ready!(self.poll_discard(cx));
        self.stage = Stage::Closed;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_stays_is_waited_for_until_the_process_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a connection");
        client.write_all(b"more than anybody reads").await.expect("sent");
        let shutdown = CancellationToken::new();
        let mut lingering = Lingering::new(stream, shutdown.clone());
        let mut end = pin!(poll_fn(|cx| Pin::new(&mut lingering).poll_shutdown(cx)));
        let early = tokio::time::timeout(LINGER / 4, end.as_mut()).await;
        assert!(early.is_err(), "the client may still read");
        shutdown.cancel();
        let ended = tokio::time::timeout(LINGER / 4, end).await.expect("nobody is waited for");
        ended.expect("an end");
    }
}
