//! Hosts that measurements ask: one that sends bytes, one that answers 1 KiB, plain or with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Bytes that a body has.
pub const BODY: usize = 1024;
/// Bytes that are sent at once.
const PIECE: usize = 256 * 1024;

/// A host on a port of its own. Dropping it ends it.
pub struct Host {
    pub addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Host {
    async fn start<F, R>(serve: F) -> Result<Host>
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while open.try_join_next().is_some() {}
                let _ = stream.set_nodelay(true);
                open.spawn(serve(stream));
            }
        });
        Ok(Host {
            addr,
            _tasks: tasks,
        })
    }

    /// Sends this many bytes to whoever says one, and closes.
    pub async fn sending(bytes: usize) -> Result<Host> {
        Host::start(move |mut stream| async move {
            let piece = vec![7; PIECE];
            let mut left = bytes;
            if stream.read_u8().await.is_err() {
                return;
            }
            while left > 0 {
                let count = left.min(PIECE);
                if stream.write_all(&piece[..count]).await.is_err() {
                    return;
                }
                left -= count;
            }
        })
        .await
    }

    /// Answers every request of a connection with 1 KiB.
    pub async fn answering() -> Result<Host> {
        Host::start(answer).await
    }

    /// The same with TLS; gives its certificate as well, which is for `127.0.0.1`.
    pub async fn secured() -> Result<(Host, String)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = params.self_signed(&key)?;
        let pem = certificate.pem();
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let host = Host::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            }
        });
        Ok((host.await?, pem))
    }
}

async fn answer<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
    let answer = [head.into_bytes(), vec![b'x'; BODY]].concat();
    let mut bytes = Vec::new();
    loop {
        match io.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        if bytes.ends_with(b"\r\n\r\n") {
            let last = bytes.to_ascii_lowercase();
            let last = memchr::memmem::find(&last, b"connection: close").is_some();
            bytes.clear();
            if io.write_all(&answer).await.is_err() || io.flush().await.is_err() || last {
                return;
            }
        }
    }
}

/// Asks once and reads the answer; says whether the connection can be used again.
pub async fn ask<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I, request: &[u8]) -> Result<bool> {
    io.write_all(request).await?;
    io.flush().await?;
    let mut bytes = Vec::with_capacity(2 * BODY);
    loop {
        let count = io.read_buf(&mut bytes).await?;
        anyhow::ensure!(
            count > 0,
            "the answer was cut: {}",
            String::from_utf8_lossy(&bytes)
        );
        let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n") else {
            continue;
        };
        anyhow::ensure!(
            bytes.starts_with(b"HTTP/1.1 200") || bytes.starts_with(b"HTTP/1.0 200"),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        if bytes.len() >= head + 4 + BODY {
            let head = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            return Ok(bytes.starts_with(b"HTTP/1.1") && !head.contains("connection: close"));
        }
    }
}
