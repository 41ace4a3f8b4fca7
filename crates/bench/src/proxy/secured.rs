//! A request of 1 KiB on a connection that stays open, whose TLS ends in egress, against the same
//! host straight.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use egress::{HostPort, Networking, Policy, Rule};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hosts::{Host, ask};
use super::world::proxy;
use crate::Setting;
use crate::quiet::quiet;
use crate::row::{Bound, Row};

/// A request is short; more of them make the median steady.
const TIMES: usize = 100;
const WARM_UP: usize = 200;

pub async fn run(setting: &Setting) -> Result<Row> {
    let (host, certificate) = Host::secured().await?;
    let place = host.addr.to_string();
    let named = HostPort {
        host: "127.0.0.1".to_owned(),
        port: host.addr.port(),
    };
    let mut policy = Policy::new(Networking::Unrestricted);
    policy.rules.push(Rule {
        allow: true,
        host: Some("127.0.0.1".parse()?),
        ports: vec![host.addr.port()],
        methods: vec!["GET".to_owned()],
        path: Some("/a*".parse()?),
    });
    let proxy = proxy(policy, vec![named], certificate.clone()).await?;
    let mut stream = TcpStream::connect(proxy.addr).await?;
    let connect = format!("CONNECT {place} HTTP/1.1\r\n\r\n");
    stream.write_all(connect.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    ensure!(head.starts_with(b"HTTP/1.1 200"), "no tunnel");
    let mut through = tls(stream, proxy.authority.certificate()).await?;
    let mut straight = tls(TcpStream::connect(host.addr).await?, &certificate).await?;
    let request = format!("GET /a HTTP/1.1\r\nHost: {place}\r\n\r\n");
    quiet().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + setting.rounds * TIMES {
        for inside in [round % 2 == 0, round % 2 != 0] {
            let stream = if inside { &mut through } else { &mut straight };
            let begun = Instant::now();
            ensure!(ask(stream, request.as_bytes()).await?, "it stays open");
            let times = if inside { &mut ours } else { &mut theirs };
            times.push(begun.elapsed());
        }
    }
    let row = Row::times(
        "request of 1 KiB whose TLS ends in egress",
        &ours[WARM_UP..],
        &[Bound::Added(1.0)],
    );
    Ok(row.against("straight to the host", &theirs[WARM_UP..]))
}

async fn tls(stream: TcpStream, trusted: &str) -> Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1")?;
    Ok(TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?)
}
