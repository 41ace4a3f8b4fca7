//! Fixtures with TLS: a host with a certificate of the operator's authority, and a client that trusts
//! the sandbox's.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use egress::{HostPort, Rule};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::proxying::LOOPBACK;
use crate::support::*;

pub type Body = BoxBody<Bytes, hyper::Error>;

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// An authority of the operator's own.
pub struct Operator {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Operator {
    pub fn new() -> Operator {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Operator {
            certificate,
            issuer,
        }
    }

    pub fn serving(&self, name: &str, alpn: &[&str]) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// A host with TLS that speaks HTTP/1.1 and HTTP/2.
pub struct Host {
    pub addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Host {
    pub async fn start<F, R>(config: rustls::ServerConfig, answer: F) -> Host
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                open.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        let answer = answer(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = TokioIo::new(stream);
                    if two {
                        let server = http2::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(io, service).await;
                    } else {
                        let serving = http1::Builder::new().serve_connection(io, service);
                        let _ = serving.with_upgrades().await;
                    }
                });
            }
        });
        Host {
            addr,
            _tasks: tasks,
        }
    }
}

/// Egress that trusts the operator's authority and reaches `name` on this port, by these rules.
pub fn out(operator: &Operator, name: &str, port: u16, rules: Vec<Rule>) -> Out {
    let authorities = operator.certificate.clone();
    let out = Out::with(SocketAddr::from((LOOPBACK, 1)), |config| {
        config.authorities = authorities;
        config.operator.private_hosts = vec![HostPort {
            host: name.into(),
            port,
        }];
    });
    out.world
        .names
        .lock()
        .unwrap()
        .insert(name.into(), vec![LOOPBACK]);
    out.rules(rules);
    out
}

impl Out {
    /// Opens a tunnel and begins TLS in it, naming `server` and trusting these authorities.
    pub async fn tls(
        &mut self,
        connect: &str,
        server: &str,
        trusted: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<DuplexStream>> {
        let mut client = self.proxy();
        client
            .write(format!("CONNECT {connect} HTTP/1.1\r\n\r\n"))
            .await;
        let text = client.until("\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        begin_tls(client, server, trusted, alpn).await
    }
}

/// Begins TLS on a connection, naming `server` and trusting these authorities.
pub async fn begin_tls(
    client: Client,
    server: &str,
    trusted: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<DuplexStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(server.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, client.0)).await
}
