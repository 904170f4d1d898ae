//! TLS: the certificate and its key, and the connections that they secure.
//!
//! The arbiter reads the files, so that a mistake in them is found before a worker starts, and so that the key may be a file
//! that only root may read while the workers have no such rights. They get it through the pipe that their orders come
//! by. SIGHUP reads the files anew, for the workers that it starts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, crypto};
use tokio_rustls::server::TlsStream;

use crate::fault::{Fault, Kind, Result};
use crate::transport::Transport;

/// What a client may choose by ALPN, the better one first.
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
/// More than any chain of certificates is.
const FILE_BYTES: u64 = 1 << 20;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct Options {
    /// Serve TLS, with this certificate and those that lead to its root (PEM). SIGHUP reads it anew.
    #[arg(long, value_name = "FILE")]
    pub certfile: Option<PathBuf>,

    /// The certificate's private key (PEM); the default is that it is in the certificate's file.
    #[arg(long, value_name = "FILE", requires = "certfile")]
    pub keyfile: Option<PathBuf>,

    /// The authorities whose certificates clients may show (PEM). SIGHUP reads them anew.
    #[arg(long, value_name = "FILE", requires = "certfile")]
    pub ca_certs: Option<PathBuf>,

    /// Whether clients have to show a certificate of --ca-certs; by number, as in gunicorn, or by name.
    #[arg(long, value_enum, default_value_t = ClientCertificate::None, value_name = "WHAT")]
    pub cert_reqs: ClientCertificate,
}

/// What a client has to show, in the names and numbers of Python's `ssl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientCertificate {
    /// It is not asked for one.
    #[value(alias = "0")]
    None,
    /// One that it shows has to be valid.
    #[value(alias = "1")]
    Optional,
    /// It has to show a valid one.
    #[value(alias = "2")]
    Required,
}

/// The content of the files.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    certificates: String,
    key: String,
    clients: Option<Clients>,
}

/// Which certificates clients show.
#[derive(Clone, Serialize, Deserialize)]
struct Clients {
    authorities: String,
    required: bool,
}

impl fmt::Debug for Credentials {
    /// Keeps the key out of every log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads the files, and finds out whether they can be used; none without `--certfile`.
    pub fn read(options: &Options) -> Result<Option<Self>> {
        let Some(certfile) = &options.certfile else {
            return Ok(None);
        };
        let keyfile = options.keyfile.as_ref().unwrap_or(certfile);
        let credentials = Self {
            certificates: text("--certfile", certfile)?,
            key: text("--keyfile", keyfile)?,
            clients: Clients::read(options)?,
        };
        let why = match credentials.config() {
            Ok(_) => return Ok(Some(credentials)),
            Err(Unusable::Certificate(why)) => format!("--certfile {}: {why}", certfile.display()),
            Err(Unusable::Key(why)) => format!("--keyfile {}: {why}", keyfile.display()),
            Err(Unusable::Authorities(why)) => {
                let path = options.ca_certs.as_deref().unwrap_or(certfile);
                format!("--ca-certs {}: {why}", path.display())
            }
            Err(Unusable::Pair(why)) => format!(
                "--certfile {} and --keyfile {}: {why}",
                certfile.display(),
                keyfile.display()
            ),
        };
        Err(Fault::new(Kind::Certificate, why))
    }

    fn config(&self) -> Result<ServerConfig, Unusable> {
        let certificates = certificates(&self.certificates).map_err(Unusable::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| {
            Unusable::Key(match error {
                pem::Error::NoItemsFound => "there is no private key in it (PEM, and not encrypted)".into(),
                error => error.to_string(),
            })
        })?;
        let provider = Arc::new(crypto::ring::default_provider());
        let clients = match &self.clients {
            Some(clients) => clients.verifier(provider.clone()).map_err(Unusable::Authorities)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Unusable::Pair(error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => Unusable::Pair("the key is not the certificate's".into()),
                rustls::Error::InvalidCertificate(error) => Unusable::Certificate(error.to_string()),
                error => Unusable::Key(error.to_string()),
            })?;
        config.alpn_protocols = vec![HTTP_2.into(), HTTP_1.into()];
        Ok(config)
    }

    /// The worker's end.
    pub fn acceptor(&self) -> io::Result<Acceptor> {
        let config = self
            .config()
            .map_err(|_| io::Error::other("the certificate is unusable"))?;
        Ok(Acceptor(Arc::new(config).into()))
    }
}

impl Clients {
    /// Those that `--cert-reqs` asks for.
    fn read(options: &Options) -> Result<Option<Self>> {
        let asked = options.cert_reqs != ClientCertificate::None;
        match &options.ca_certs {
            Some(path) if asked => Ok(Some(Self {
                authorities: text("--ca-certs", path)?,
                required: options.cert_reqs == ClientCertificate::Required,
            })),
            None if !asked => Ok(None),
            // Whoever gives half of it would believe that clients are checked.
            Some(_) => Err(Fault::new(
                Kind::Usage,
                "--ca-certs does nothing without --cert-reqs required, or optional",
            )),
            None => Err(Fault::new(
                Kind::Usage,
                "--cert-reqs needs --ca-certs, the authorities whose certificates clients show",
            )),
        }
    }

    fn verifier(&self, provider: Arc<crypto::CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authorities)? {
            roots.add(authority).map_err(|error| error.to_string())?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let builder = match self.required {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        builder.build().map_err(|error| error.to_string())
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    match certificates.is_empty() {
        true => Err("there is no certificate in it (PEM)".into()),
        false => Ok(certificates),
    }
}

/// Which file is to blame, and why.
enum Unusable {
    Certificate(String),
    Key(String),
    Pair(String),
    Authorities(String),
}

fn text(flag: &str, path: &Path) -> Result<String> {
    let fault = |why: String| Fault::new(Kind::Certificate, format!("{flag} {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if size > FILE_BYTES {
        return Err(fault(format!("it is larger than {FILE_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| fault("it is not text: PEM is, DER is not".into()))
}

#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// The handshake.
    pub async fn accept(&self, transport: Transport) -> io::Result<Stream> {
        let stream = self.0.accept(transport).await?;
        Ok(Stream {
            layer: Layer::Secure(Box::new(stream)),
            closing: false,
        })
    }
}

/// What hyper reads from and writes to.
pub struct Stream {
    layer: Layer,
    closing: bool,
}

enum Layer {
    Plain(Transport),
    Secure(Box<TlsStream<Transport>>),
}

impl Stream {
    pub fn plain(transport: Transport) -> Self {
        Self {
            layer: Layer::Plain(transport),
            closing: false,
        }
    }

    pub fn is_secure(&self) -> bool {
        matches!(self.layer, Layer::Secure(_))
    }

    /// Whether it has begun to end.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The bytes of the socket.
    pub fn transport(&mut self) -> &mut Transport {
        match &mut self.layer {
            Layer::Plain(transport) => transport,
            Layer::Secure(stream) => stream.get_mut().0,
        }
    }

    /// Whether the client has chosen HTTP/2 in the handshake. It cannot without TLS.
    pub fn chose_http2(&self) -> bool {
        match &self.layer {
            Layer::Plain(_) => false,
            Layer::Secure(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
        }
    }
}

macro_rules! on_stream {
    ($stream:expr, $method:ident ( $($argument:expr),* )) => {
        match &mut $stream.get_mut().layer {
            Layer::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Layer::Secure(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closing = true;
        on_stream!(self, poll_shutdown(context))
    }
}
