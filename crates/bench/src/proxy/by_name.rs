//! A connection that a program in a sandbox makes by name, knowing no proxy, against one that it makes
//! through the proxy: each from nothing to the host's first byte.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use egress::{Authority, ClientId, Egress, HostPort, Networking, Policy};
use sandbox::guest_channel::{
    Arrival, GUEST, Guest, Incoming, Output, ProcessInput, ProcessOutput, ProcessSpec,
};
use sandbox::oci::{self, Oci};
use sandbox::{Mount, Provider, SandboxId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::world;
use crate::http::PATIENCE;
use crate::quiet::quiet;
use crate::row::{Bound, Row};
use crate::{Setting, create, hosted};

/// A connection is short; more of them make the median steady.
const TIMES: usize = 20;
const WARM_UP: usize = 50;
/// The host's name, which egress alone knows.
const NAME: &str = "bench.example";
/// This program, inside.
const CONNECTOR: &str = "/opt/hostel/connector";

pub async fn run(setting: &Setting) -> Result<Row> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let place = format!("{NAME}:{}", listener.local_addr()?.port());
    let mut tasks = JoinSet::new();
    tasks.spawn(host(listener));
    let named: HostPort = place.parse()?;
    let egress = world::egress(
        Policy::new(Networking::Unrestricted),
        vec![named],
        String::new(),
    )?;
    let data = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(hosted::below(&setting.hostel)?)?;
    let config = oci::Config::new(data.path().to_owned(), setting.hostel.clone(), GUEST);
    let provider = Oci::probe(config).await?;
    let id: SandboxId = "bench-by-name".parse()?;
    let mut spec = create::spec(&id);
    spec.read_only = vec![Mount {
        source: hosted::myself()?,
        target: CONNECTOR.into(),
    }];
    let made = provider.create(&spec).await?;
    let (guest, incoming) = Guest::connect(made.stream).await?;
    let listening = guest.listen(0, "proxy").await?;
    let transparent = guest.transparent().await?;
    tasks.spawn(serve(incoming, egress));
    let proxy = format!("127.0.0.1:{}", listening.port);
    let mut named = Inside::start(&guest, &[&place]).await?;
    let mut proxied = Inside::start(&guest, &[&place, &proxy]).await?;
    quiet().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + setting.rounds * TIMES {
        for by_name in [round % 2 == 0, round % 2 != 0] {
            let took = match by_name {
                true => named.connect().await?,
                false => proxied.connect().await?,
            };
            if round >= WARM_UP {
                let times = if by_name { &mut ours } else { &mut theirs };
                times.push(took);
            }
        }
    }
    drop((named, proxied, listening, transparent));
    guest.close();
    provider.destroy(&id).await?;
    data.close()?;
    let row = Row::times(
        "connection from a sandbox by name",
        &ours,
        &[Bound::Added(0.5)],
    );
    Ok(row.against("the same through the proxy", &theirs))
}

/// Says a byte to whoever does.
async fn host(listener: TcpListener) {
    let mut open = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        open.spawn(async move {
            if stream.read_u8().await.is_ok() {
                let _ = stream.write_u8(b'y').await;
            }
        });
    }
}

async fn serve(mut incoming: Incoming, egress: Egress) {
    let Ok(authority) = Authority::new().map(Arc::new) else {
        return;
    };
    let mut open = JoinSet::new();
    while let Some(arrival) = incoming.next().await {
        while open.try_join_next().is_some() {}
        let (egress, authority) = (egress.clone(), authority.clone());
        open.spawn(async move {
            let client = ClientId("bench".to_owned());
            match arrival {
                Arrival::Accepted { io, .. } => egress.serve_proxy(client, authority, io).await,
                Arrival::Reach { name, port, io, .. } => {
                    egress.serve_name(client, authority, &name, port, io).await;
                }
                Arrival::Name {
                    name, kind, asker, ..
                } => match egress.name(&client, &name, kind) {
                    Some(ports) => asker.reached_on(ports).await,
                    None => asker.refused().await,
                },
                Arrival::Strays { .. } => {}
            }
        });
    }
}

/// The connector in a sandbox.
struct Inside {
    input: ProcessInput,
    output: ProcessOutput,
}

impl Inside {
    async fn start(guest: &Guest, places: &[&str]) -> Result<Inside> {
        let words = [CONNECTOR, "connect"].iter().chain(places);
        let spec = ProcessSpec {
            argv: words.map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            terminal: None,
            user: None,
        };
        let (input, output) = guest.spawn(spec).await?.split();
        Ok(Inside { input, output })
    }

    async fn connect(&mut self) -> Result<Duration> {
        self.input.write(b"\n").await?;
        loop {
            match tokio::time::timeout(PATIENCE, self.output.next()).await?? {
                // An answer is a short line, which is written and carried as one.
                Some(Output::Stdout(bytes)) => {
                    let nanos = std::str::from_utf8(&bytes)?.trim().parse()?;
                    return Ok(Duration::from_nanos(nanos));
                }
                Some(Output::Stderr(bytes)) => eprint!("{}", String::from_utf8_lossy(&bytes)),
                ended => bail!("the connector in the sandbox ended: {ended:?}"),
            }
        }
    }
}
