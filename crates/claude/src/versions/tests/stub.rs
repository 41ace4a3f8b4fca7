//! A registry on loopback, and packages for it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How the registry misbehaves with the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Closes the connection half way.
    Cut,
    /// Sends other bytes than were published.
    Changed,
    /// Publishes no hash.
    NoIntegrity,
    /// Says that there is no such package.
    Missing,
    /// Sends elsewhere first.
    Redirect,
    /// Never sends the second half.
    Stall,
    /// Describes packages as lying at the public registry.
    PublicAddress,
}

pub(super) struct Registry {
    pub(super) url: String,
    downloads: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Registry {
    /// Serves one package under these versions, the last of them as latest.
    pub(super) async fn start(package: Vec<u8>, versions: &[&str], fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let downloads = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            metadata: metadata(&url, &package, versions, fault),
            package,
            fault,
            downloads: downloads.clone(),
        });
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                connections.spawn(async move { shared.serve(stream).await });
            }
        });
        Self {
            url,
            downloads,
            server,
        }
    }

    pub(super) fn downloads(&self) -> usize {
        self.downloads.load(Ordering::SeqCst)
    }
}

struct Shared {
    metadata: String,
    package: Vec<u8>,
    fault: Fault,
    downloads: Arc<AtomicUsize>,
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).await? == 0 {
                return Ok(());
            }
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        if path.starts_with("/@anthropic-ai%2f") {
            assert!(
                request.contains("application/vnd.npm.install-v1+json"),
                "{request}"
            );
            let status = if self.fault == Fault::Missing {
                "404 Not Found"
            } else {
                "200 OK"
            };
            return answer(&mut stream, status, "", self.metadata.as_bytes()).await;
        }
        if self.fault == Fault::Redirect && !path.contains("elsewhere") {
            return answer(
                &mut stream,
                "302 Found",
                "location: /elsewhere.tgz\r\n",
                b"",
            )
            .await;
        }
        self.downloads.fetch_add(1, Ordering::SeqCst);
        self.send(&mut stream).await
    }

    async fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut body = self.package.clone();
        let half = body.len() / 2;
        match self.fault {
            Fault::Changed => body[half] ^= 1,
            Fault::Cut | Fault::Stall => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body[..half]).await?;
                if self.fault == Fault::Stall {
                    std::future::pending::<()>().await;
                }
                return stream.shutdown().await;
            }
            _ => {}
        }
        answer(stream, "200 OK", "", &body).await
    }
}

async fn answer(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}

fn metadata(url: &str, package: &[u8], versions: &[&str], fault: Fault) -> String {
    let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(package)));
    let base = if fault == Fault::PublicAddress {
        super::DEFAULT_REGISTRY
    } else {
        url
    };
    let manifest = |version: &str| {
        let mut dist = json!({"tarball": format!("{base}claude-{version}.tgz"), "shasum": "da39"});
        if fault != Fault::NoIntegrity {
            dist["integrity"] = integrity.clone().into();
        }
        json!({"version": version, "dist": dist})
    };
    let all: serde_json::Map<String, Value> = versions
        .iter()
        .map(|version| ((*version).to_owned(), manifest(version)))
        .collect();
    json!({"dist-tags": {"latest": versions.last()}, "versions": all}).to_string()
}

/// A package whose executable has this content, with something before and after it.
pub(super) fn package(content: &[u8]) -> Vec<u8> {
    archive(&[
        ("package/package.json", b"{}"),
        ("package/claude", content),
        ("package/LICENSE", b"text"),
    ])
}

/// An archive of files, named without any care.
pub(super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o777);
        header.set_cksum();
        archive.append(&header, *content).unwrap();
    }
    gzip(&archive.into_inner().unwrap())
}

/// An archive in which the executable is a link.
pub(super) fn link(target: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive
        .append_link(&mut header, "package/claude", target)
        .unwrap();
    gzip(&archive.into_inner().unwrap())
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that no compression makes smaller.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}
