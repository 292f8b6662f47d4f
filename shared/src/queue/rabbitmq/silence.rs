//! A broker's machine that says nothing: the kernel ends the connection, sooner than heartbeats can.
//!
//! A heartbeat is missing for sure after ten seconds, and an ingest answers 503 for as long. What was sent and is not even
//! acknowledged by the other machine's kernel says so much earlier. A broker that is slow, or blocked by an alarm, has a
//! kernel that acknowledges: this is only about machines and networks.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// For how long nothing that was sent may stay unacknowledged. Shorter ends connections over a line that only stumbled;
/// longer is added to every failover.
const SILENT_MAX: Duration = Duration::from_secs(4);

/// Has the kernel end the connection when the other machine is silent for too long, where it can; heartbeats are left
/// otherwise. See `TCP_USER_TIMEOUT` in <https://man7.org/linux/man-pages/man7/tcp.7.html>.
pub(super) fn end_when_silent(socket: &impl AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(SILENT_MAX))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, SILENT_MAX);
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_is_told_how_long_silence_may_last() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream =
            tokio::net::TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        end_when_silent(&stream).expect("the kernel can do it");
        assert_eq!(socket2::SockRef::from(&stream).tcp_user_timeout().expect("an option"), Some(SILENT_MAX));
    }
}
