//! One connection to the broker with the topology declared on it.
//!
//! Every kind of trouble ends a link, and a new one is made by [`super::supervisor`]; lapin's own recovery is not used.
//! Dropping a link closes its socket under lapin: a connection that hangs in its handshake, or whose close is never
//! answered, would otherwise keep its thread for as long as the other end keeps silent.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, Event};

use super::silence::end_when_silent;
use super::topology::{Object, Refused, declare};

/// Time for the TCP and TLS handshake, and again for AMQP's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one exchange, queue or binding: a new quorum queue is an election, of tens of milliseconds. A node that
/// cannot reach its cluster does not answer at all.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for opening a channel.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the broker to answer a close; then the socket is closed all the same.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The broker cannot be reached, or does not let us in.
    #[error("no connection to {at}")]
    Connect {
        /// Host and port.
        at: String,
        #[source]
        source: lapin::Error,
    },
    /// It was reached, but did not answer.
    #[error("{at} did not answer within {limit:?}")]
    Timeout {
        /// Host and port.
        at: String,
        limit: Duration,
    },
    /// A channel could not be opened.
    #[error("no channel")]
    Channel(#[source] lapin::Error),
    /// It exists, but not as this build declares it.
    #[error(
        "{object} exists with other arguments than Tidegate declares; \
         let it run empty, delete it and it is declared anew, or choose another namespace"
    )]
    OtherArguments {
        /// What was declared.
        object: Box<Object>,
        #[source]
        source: lapin::Error,
    },
    /// The connection was lost before the broker had answered.
    #[error("the connection was lost at {object}")]
    Lost {
        /// What was declared or deleted.
        object: Box<Object>,
        #[source]
        source: lapin::Error,
    },
    /// The broker refused to declare or delete it.
    #[error("the broker refused {object}")]
    Refused {
        /// What was declared or deleted.
        object: Box<Object>,
        #[source]
        source: lapin::Error,
    },
}

impl From<Refused> for LinkError {
    fn from(Refused { object, source }: Refused) -> Self {
        /// AMQP's reply code for a declaration that differs from what exists.
        const PRECONDITION_FAILED: u16 = 406;
        let object = Box::new(object);
        match reply_code(&source) {
            Some(PRECONDITION_FAILED) => Self::OtherArguments { object, source },
            Some(_) => Self::Refused { object, source },
            None => Self::Lost { object, source },
        }
    }
}

/// The reply code with which the broker closed a channel or connection.
pub(super) fn reply_code(error: &lapin::Error) -> Option<u16> {
    if let lapin::ErrorKind::ProtocolError(error) = error.kind() { Some(error.get_id()) } else { None }
}

/// A connection, with one channel on which the topology is declared.
pub(super) struct Link {
    connection: Connection,
    /// The channel of the declarations, free for use.
    pub(super) channel: Channel,
    socket: SocketGuard,
}

/// Alarms and errors of a connection.
pub(super) type Events = BoxStream<'static, Event>;

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Connects as `name` (what the broker's listings show) and declares `objects`.
    pub(super) async fn open(uri: &AMQPUri, name: &str, objects: &[Object]) -> Result<(Self, Events), LinkError> {
        let at = format!("{}:{}", uri.authority.host, uri.authority.port);
        let socket = SocketGuard(Socket::default());
        let connecting = connect(uri.clone(), name, socket.0.clone());
        let connection = match tokio::time::timeout(2 * CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => return Err(LinkError::Connect { at, source }),
            Err(_) => return Err(LinkError::Timeout { at, limit: 2 * CONNECT_TIMEOUT }),
        };
        // Before anything is published, so that no alarm is missed.
        let events = connection.events_listener().boxed();
        let channel = open_channel(&connection).await?;
        for object in objects {
            match tokio::time::timeout(DECLARE_TIMEOUT, declare(&channel, std::slice::from_ref(object))).await {
                Ok(declared) => declared?,
                Err(_) => return Err(LinkError::Timeout { at, limit: DECLARE_TIMEOUT }),
            }
        }
        Ok((Self { connection, channel, socket }, events))
    }

    /// Opens another channel.
    pub(super) async fn open_channel(&self) -> Result<Channel, LinkError> {
        open_channel(&self.connection).await
    }

    /// Largest frame that the broker takes, in bytes; a message's properties must fit into one.
    pub(super) fn frame_max(&self) -> usize {
        self.connection.configuration().frame_max() as usize
    }

    /// Says whether the connection stands, as far as we know.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Closes the connection in agreement with the broker, or without it if that takes too long.
    pub(super) async fn close(&self) {
        const SUCCESS: u16 = 200;
        if !self.is_connected() {
            self.socket.close();
            return;
        }
        match tokio::time::timeout(CLOSE_TIMEOUT, self.connection.close(SUCCESS, "OK".into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the connection was gone before it was closed"),
            Err(_) => tracing::warn!("the broker did not answer the close of the connection"),
        }
        self.socket.close();
    }
}

async fn open_channel(connection: &Connection) -> Result<Channel, LinkError> {
    let timeout = || lapin::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(CHANNEL_TIMEOUT, connection.create_channel())
        .await
        .unwrap_or_else(|_| Err(timeout()))
        .map_err(LinkError::Channel)
}

async fn connect(uri: AMQPUri, name: &str, socket: Socket) -> lapin::Result<Connection> {
    // Neither `enable_auto_recover` nor a backoff: one attempt, and its error is ours to handle.
    let properties = ConnectionProperties::default()
        .with_client_property("product".into(), "tidegate".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
        .with_connection_name(name.into());
    let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    // Our own dialling, for the sake of the second handle to the socket and of a time limit.
    Connection::connector(
        uri,
        lapin::runtime::default_runtime()?,
        async move |uri, runtime| {
            let dialled = async {
                let host = uri.authority.host.as_str();
                let addresses: Vec<_> = tokio::net::lookup_host((host, uri.authority.port)).await?.collect();
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    end_when_silent(plain.get_ref())?;
                    socket.keep(TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?))?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(host, OwnedTLSConfig::default().as_ref()).await,
                }
            };
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, dialled).await.unwrap_or_else(|_| Err(timed_out()));
            stream.map_err(lapin::Error::from)
        },
        properties,
    )
    .await
}

/// A second handle to a connection's socket, shared with lapin's thread.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<SocketState>>);

#[derive(Default)]
enum SocketState {
    #[default]
    Dialling,
    Open(TcpStream),
    Closed,
}

impl Socket {
    /// Keeps a handle to the socket, unless nobody waits for the connection any more.
    fn keep(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, SocketState::Closed) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        *state = SocketState::Open(stream);
        Ok(())
    }
}

/// Closes the socket when dropped, which ends lapin's thread whatever the broker does.
struct SocketGuard(Socket);

impl SocketGuard {
    fn close(&self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let SocketState::Open(stream) = std::mem::replace(&mut *state, SocketState::Closed)
            && let Err(error) = stream.shutdown(Shutdown::Both)
        {
            tracing::debug!(%error, "the socket was closed already");
        }
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.close();
    }
}
