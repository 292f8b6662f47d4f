//! An internet of a test's own: providers' hosts at a public address, with certificates that its programs trust.
//!
//! Whoever gets keys from providers asks public addresses only, by TLS, and must not be told otherwise for a test. So the
//! test runs once more in a network namespace with nothing but such an address in it, and a file of hosts that says whose
//! it is. Nothing outside notices, and nothing in there reaches the world.
//!
//! It takes Linux, `unshare` and `ip`, and root or a kernel that lets anyone have a namespace: without them a test fails,
//! and says so.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::getuid;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tidegate_shared::process::install_tls;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long the TLS handshake of a connection may take: they are made one after the other.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Where every host of this internet is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(44, 0, 0, 1);
/// Tells a test that it is inside, and the folder with its certificates.
const INSIDE: &str = "TIDEGATE_TEST_INTERNET";
/// What programs read the authorities from that they trust, instead of the system's.
const TRUSTED: &str = "SSL_CERT_FILE";

/// The inside of such an internet.
#[derive(Debug)]
pub struct Internet {
    tls: Arc<ServerConfig>,
}

impl Internet {
    /// Runs the test called `test` again, inside: there it gets the internet; outside it gets `None` once that run is over.
    ///
    /// # Errors
    /// If there is none to be had, or the run inside fails: the error has what it printed.
    pub fn enter(test: &str, hosts: &[&str]) -> Result<Option<Self>> {
        if let Some(folder) = std::env::var_os(INSIDE) {
            return Ok(Some(Self { tls: Arc::new(server_config(Path::new(&folder))?) }));
        }
        let folder = tempfile::tempdir()?;
        write_certificates(&folder, hosts)?;
        let file = folder.path().join("hosts");
        std::fs::write(&file, format!("127.0.0.1 localhost\n{ADDRESS} {}\n", hosts.join(" ")))?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount"]);
        if !getuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let script = format!(
            "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up && ip address add {ADDRESS}/32 dev lo && \
             mount --bind \"$0\" /etc/hosts && exec \"$@\""
        );
        unshare.args(["sh", "-c", &script]).arg(&file).arg(std::env::current_exe()?);
        unshare.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        unshare.env(INSIDE, folder.path()).env(TRUSTED, folder.path().join("authority.pem"));
        let output = unshare.output().context("unshare does not start; install the package util-linux")?;
        let printed = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        ensure!(output.status.success(), "{test} in a namespace of its own: {}\n{printed}", output.status);
        ensure!(printed.contains("1 passed"), "{test} did not run in its namespace:\n{printed}");
        Ok(None)
    }

    /// Listens as every host of it.
    ///
    /// # Errors
    /// If somebody does already.
    pub async fn listen(&self) -> Result<HttpsListener> {
        let listener = TcpListener::bind((ADDRESS, 443)).await?;
        Ok(HttpsListener { listener, acceptor: TlsAcceptor::from(Arc::clone(&self.tls)) })
    }
}

/// An authority, and what it says of the hosts.
fn write_certificates(folder: &TempDir, hosts: &[&str]) -> Result<()> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(hosts)?.signed_by(&key, &authority)?;
    for (name, text) in
        [("authority.pem", authority.pem()), ("hosts.pem", certificate.pem()), ("hosts.key", key.serialize_pem())]
    {
        std::fs::write(folder.path().join(name), text)?;
    }
    Ok(())
}

fn server_config(folder: &Path) -> Result<ServerConfig> {
    install_tls();
    let certificate = CertificateDer::from_pem_file(folder.join("hosts.pem"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("hosts.key"))?;
    Ok(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?)
}

/// Takes connections by TLS. One whose handshake fails is nobody's request.
pub struct HttpsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for HttpsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsListener").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Listener for HttpsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
