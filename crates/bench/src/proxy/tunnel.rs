//! 1 GiB through one tunnel, against the same host straight over loopback.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use egress::{HostPort, Networking, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::hosts::Host;
use super::world::proxy;
use crate::Setting;
use crate::quiet::quiet;
use crate::row::{Bound, Row};

const BYTES: usize = 1 << 30;
/// More are of little use: one takes a second.
const MOST: usize = 10;

pub async fn run(setting: &Setting) -> Result<Row> {
    let host = Host::sending(BYTES).await?;
    let named = HostPort {
        host: "127.0.0.1".to_owned(),
        port: host.addr.port(),
    };
    let policy = Policy::new(Networking::Unrestricted);
    let proxy = proxy(policy, vec![named], String::new()).await?;
    let connect = format!("CONNECT {} HTTP/1.1\r\n\r\n", host.addr);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..setting.rounds.min(MOST) {
        quiet().await?;
        for through in [round % 2 == 0, round % 2 != 0] {
            if through {
                let mut stream = TcpStream::connect(proxy.addr).await?;
                stream.write_all(connect.as_bytes()).await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                ensure!(head.starts_with(b"HTTP/1.1 200"), "no tunnel");
                ours.push(take(stream).await?);
            } else {
                theirs.push(take(TcpStream::connect(host.addr).await?).await?);
            }
        }
    }
    // A throughput of at least 0.4 times is a time of at most 2.5 times.
    let row = Row::times("1 GiB through a tunnel", &ours, &[Bound::Ratio(2.5)]);
    Ok(row.against("straight over loopback", &theirs))
}

async fn take(mut stream: TcpStream) -> Result<Duration> {
    let mut piece = vec![0; 256 * 1024];
    let begun = Instant::now();
    stream.write_all(b"x").await?;
    let mut taken = 0;
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            count => taken += count,
        }
    }
    ensure!(taken == BYTES, "{taken} bytes came");
    Ok(begun.elapsed())
}
