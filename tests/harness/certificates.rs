//! Certificates, made for a test, and clients that trust them.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use super::PATIENCE;

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A certificate for `localhost` and 127.0.0.1 that signs itself, and its key, as files.
pub struct Certificate {
    pub certfile: PathBuf,
    pub keyfile: PathBuf,
}

impl Certificate {
    /// Writes `NAME.pem` and `NAME.key`, over those that are there.
    pub fn make(directory: &Path, name: &str) -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        let certificate = Self {
            certfile: directory.join(name).with_extension("pem"),
            keyfile: directory.join(name).with_extension("key"),
        };
        std::fs::write(&certificate.certfile, made.cert.pem()).expect("the directory can be written");
        std::fs::write(&certificate.keyfile, made.signing_key.serialize_pem()).expect("the directory can be written");
        certificate
    }

    /// The arguments for the server.
    pub fn arguments(&self) -> [String; 4] {
        let text = |path: &'_ PathBuf| path.to_str().map(str::to_owned).expect("a path is text");
        [
            "--certfile".into(),
            text(&self.certfile),
            "--keyfile".into(),
            text(&self.keyfile),
        ]
    }

    /// A connection that trusts this certificate only, after its handshake.
    pub fn connect(&self, address: SocketAddr, protocols: &[&[u8]]) -> std::io::Result<Secure> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.certfile).expect("a certificate"))
            .expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut secure = StreamOwned::new(client, socket);
        while secure.conn.is_handshaking() {
            secure.conn.complete_io(&mut secure.sock)?;
        }
        Ok(secure)
    }
}
