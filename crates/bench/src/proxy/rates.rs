//! Requests through egress beside tinyproxy in the same role: a plain HTTP proxy, 1 KiB, eight clients
//! that keep their connections where the proxy lets them.
//!
//! Both are processes of their own, and what is compared is the processor time that each takes for a
//! thousand requests: on one core that is the inverse of requests per second, whatever the clients and
//! the host cost beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use egress::{HostPort, Networking, Policy};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::hosts::{Host, ask};
use super::world::proxy;
use crate::http::PATIENCE;
use crate::quiet::quiet;
use crate::row::{Bound, Row};
use crate::{Setting, hosted, kernel};

const WHAT: &str = "processor time of 1,000 requests through egress, on one core";
const CLIENTS: usize = 8;
/// Of one client in one round. Processor time is told in steps of 10 ms, so they must be many.
const REQUESTS: usize = 1_000;
/// Measured rounds; a round takes a second or two.
const MOST: usize = 10;

pub async fn run(setting: &Setting) -> Result<Row> {
    let Some(program) = tinyproxy() else {
        let why = "tinyproxy is not there: `apt-get install tinyproxy-bin`, or name it in BENCH_TINYPROXY";
        return Ok(Row::missing(WHAT, why));
    };
    let host = Host::answering().await?;
    let mut ours = Running::egress(host.addr).await?;
    let mut theirs = Running::tinyproxy(&program).await?;
    quiet().await?;
    let (mut ours_took, mut theirs_took) = (Vec::new(), Vec::new());
    for round in 0..=setting.rounds.min(MOST) {
        let (mut mine, mut other) = (Duration::ZERO, Duration::ZERO);
        for through_us in [round % 2 == 0, round % 2 != 0] {
            if through_us {
                mine = load(&ours, host.addr).await.context("through egress")?;
            } else {
                let took = load(&theirs, host.addr).await;
                other = took.context("through tinyproxy")?;
            }
        }
        // The first warms both up.
        if round > 0 {
            ours_took.push(mine);
            theirs_took.push(other);
        }
    }
    ours.child.kill().await?;
    theirs.child.kill().await?;
    // At least twice the requests in a second is at most half of the time for each.
    let row = Row::times(WHAT, &ours_took, &[Bound::Ratio(0.5)]);
    Ok(row.against("tinyproxy", &theirs_took))
}

/// A proxy in a process of its own.
struct Running {
    child: Child,
    addr: SocketAddr,
    _files: Option<tempfile::TempDir>,
}

impl Running {
    async fn egress(host: SocketAddr) -> Result<Running> {
        let mut child = Command::new(hosted::myself()?)
            .args(["proxy", &host.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let addr = line.context("no proxy")?.parse()?;
        Ok(Running {
            child,
            addr,
            _files: None,
        })
    }

    async fn tinyproxy(program: &Path) -> Result<Running> {
        let free = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = free.local_addr()?;
        drop(free);
        let files = tempfile::tempdir()?;
        let config = files.path().join("tinyproxy.conf");
        let text = format!(
            "Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 500\nAllow 127.0.0.1\nLogLevel Critical\nLogFile \"{}\"\n",
            addr.port(),
            files.path().join("log").display()
        );
        std::fs::write(&config, text)?;
        let child = Command::new(program)
            .args(["-d", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let begun = Instant::now();
        while TcpStream::connect(addr).await.is_err() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "tinyproxy does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Running {
            child,
            addr,
            _files: Some(files),
        })
    }
}

/// Processor time of the proxy for 1,000 requests.
async fn load(proxy: &Running, host: SocketAddr) -> Result<Duration> {
    let pid = proxy.child.id().context("the proxy ended")?;
    let before = kernel::cpu(&[pid])?;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(proxy.addr, host));
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let took = kernel::cpu(&[pid])?.saturating_sub(before);
    Ok(took * 1_000 / u32::try_from(CLIENTS * REQUESTS)?)
}

async fn client(proxy: SocketAddr, host: SocketAddr) -> Result<()> {
    let request = format!("GET http://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut open: Option<TcpStream> = None;
    for _ in 0..REQUESTS {
        if let Some(mut stream) = open.take() {
            // A proxy may close without having said so; then it is asked on a new connection.
            if let Ok(again) = ask(&mut stream, request.as_bytes()).await {
                open = again.then_some(stream);
                continue;
            }
        }
        let mut stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        let again = ask(&mut stream, request.as_bytes()).await?;
        open = again.then_some(stream);
    }
    Ok(())
}

fn tinyproxy() -> Option<PathBuf> {
    let named = std::env::var_os("BENCH_TINYPROXY").map(PathBuf::from);
    let known = ["/usr/bin/tinyproxy", "/usr/sbin/tinyproxy"].map(PathBuf::from);
    let mut all = named.into_iter().chain(known);
    all.find(|path| path.is_file())
}

/// Egress as a process of its own, on one thread: serves until it is ended, after it has said where.
pub fn serve(host: &str) -> Result<()> {
    let host: SocketAddr = host.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let named = HostPort {
            host: host.ip().to_string(),
            port: host.port(),
        };
        let policy = Policy::new(Networking::Unrestricted);
        let proxy = proxy(policy, vec![named], String::new()).await?;
        println!("{}", proxy.addr);
        std::future::pending::<()>().await;
        Ok(())
    })
}
