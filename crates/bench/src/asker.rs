//! A client of the model API that times itself: for each line that it reads it makes one call on
//! a connection that stays open, and writes how many nanoseconds passed until the first byte of
//! the answer's stream. It runs inside a sandbox and outside, so that both are the same program.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use memchr::memmem;

/// The end of a chunked body.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// Asks until there are no more lines.
pub fn run(address: &str) -> Result<()> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let request = request();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        line?;
        let nanos = ask(&mut stream, &request)?;
        writeln!(output, "{nanos}")?;
        output.flush()?;
    }
    Ok(())
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<u128> {
    let begun = Instant::now();
    stream.write_all(request)?;
    let (mut bytes, mut part, mut first) = (Vec::new(), [0; 16 * 1024], None);
    while !bytes.ends_with(END) {
        let read = stream.read(&mut part)?;
        if read == 0 {
            bail!("the answer was cut: {}", String::from_utf8_lossy(&bytes));
        }
        bytes.extend_from_slice(&part[..read]);
        if first.is_none() && memmem::find(&bytes, b"event:").is_some() {
            first = Some(begun.elapsed().as_nanos());
        }
    }
    first.context("an answer without events")
}

/// A request of the size that the CLI sends with the tools of an agent: about 17 kB.
fn request() -> Vec<u8> {
    let body = format!(
        r#"{{"model":"claude-sonnet-5","max_tokens":100,"stream":true,"system":"{}","messages":[{{"role":"user","content":"@say hello"}}]}}"#,
        "x".repeat(16_600)
    );
    let head = "POST /v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: placeholder\r\nanthropic-version: 2023-06-01\r\n";
    format!(
        "{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
