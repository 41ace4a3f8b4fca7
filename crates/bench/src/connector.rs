//! A client that times connections: for each line that it reads it makes one, and writes how many
//! nanoseconds passed until the host had said a byte. It runs inside a sandbox, once with the host's
//! name and once with the proxy.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Result, ensure};

/// Connects until there are no more lines: to `host`, or through the proxy at `proxy`.
pub fn run(host: &str, proxy: Option<&str>) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        line?;
        let begun = Instant::now();
        let mut stream = TcpStream::connect(proxy.unwrap_or(host))?;
        stream.set_nodelay(true)?;
        if proxy.is_some() {
            write!(stream, "CONNECT {host} HTTP/1.1\r\n\r\n")?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.extend(byte);
            }
            ensure!(head.starts_with(b"HTTP/1.1 200"), "no tunnel");
        }
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        writeln!(output, "{}", begun.elapsed().as_nanos())?;
        output.flush()?;
    }
    Ok(())
}
