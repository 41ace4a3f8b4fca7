//! As much of an HTTP client as the measurements need, with nothing in it that takes time of its
//! own: one connection for each request, and streams read as bytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take: far more than it takes.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A server and the key with which we come in.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    key: String,
}

impl Client {
    /// A client of the server at this address.
    pub fn new(address: SocketAddr, key: &str) -> Client {
        Client {
            address,
            key: key.to_owned(),
        }
    }

    /// Sends JSON and reads the JSON answer; an answer other than 200 and 201 is an error.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let mut stream = self
            .open(method, path, &body.to_string(), "connection: close\r\n")
            .await?;
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").context("half an answer")?;
        if !head.starts_with("HTTP/1.1 200") && !head.starts_with("HTTP/1.1 201") {
            bail!("{method} {path}: {text}");
        }
        serde_json::from_str(body).with_context(|| format!("{method} {path}: {text}"))
    }

    /// Opens a stream of events and waits for the head of its answer.
    pub async fn stream(&self, path: &str) -> Result<Stream> {
        let connection = self.open("GET", path, "", "").await?;
        let mut stream = Stream {
            connection,
            bytes: Vec::with_capacity(64 * 1024),
        };
        stream
            .until(b"text/event-stream")
            .await
            .with_context(|| format!("GET {path}"))?;
        Ok(stream)
    }

    async fn open(&self, method: &str, path: &str, body: &str, more: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: hostel\r\nx-api-key: {}\r\n{more}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }
}

/// A stream of events, as bytes.
pub struct Stream {
    connection: TcpStream,
    bytes: Vec<u8>,
}

impl Stream {
    /// Reads up to the next place of these bytes and behind it. They must lie within one event.
    pub async fn until(&mut self, wanted: &[u8]) -> Result<Instant> {
        until(&mut self.connection, &mut self.bytes, wanted).await
    }

    /// The next bytes, appended to `into`.
    pub async fn more(&mut self, into: &mut Vec<u8>) -> Result<()> {
        into.append(&mut self.bytes);
        if tokio::time::timeout(PATIENCE, self.connection.read_buf(into)).await?? == 0 {
            bail!("the stream ended");
        }
        Ok(())
    }
}

/// Reads up to the next place of these bytes; what stands behind it stays in `bytes`. Gives the
/// moment at which they were there.
pub async fn until(
    source: &mut (impl AsyncReadExt + Unpin),
    bytes: &mut Vec<u8>,
    wanted: &[u8],
) -> Result<Instant> {
    let finder = memmem::Finder::new(wanted);
    loop {
        if let Some(at) = finder.find(bytes) {
            let now = Instant::now();
            bytes.drain(..at + wanted.len());
            return Ok(now);
        }
        let read = tokio::time::timeout(PATIENCE, source.read_buf(bytes)).await;
        if read.with_context(|| format!("no {}", String::from_utf8_lossy(wanted)))?? == 0 {
            bail!(
                "the end came before {}: {}",
                String::from_utf8_lossy(wanted),
                String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..])
            );
        }
    }
}
