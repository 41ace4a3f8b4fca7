//! What the way out adds to a model call, to the first byte: the same client asks the scripted
//! model straight, and from inside a sandbox through its loopback, the guest, the link and egress.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::egress::{
    Admission, Audit, ClientId, Config, CredentialError, Credentials, Egress, Estimate, Networking,
    Policies, Policy, Record, Reservation, Secret, Slot, Standing, SystemResolver, Usage,
    UsageSink, Windows,
};
use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use model::{Model, Options};
use sandbox::guest_channel::{
    GUEST, Guest, Incoming, Output, ProcessInput, ProcessOutput, ProcessSpec,
};
use sandbox::oci::{self, Oci};
use sandbox::{Mount, Provider, SandboxId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::http::PATIENCE;
use crate::quiet::quiet;
use crate::row::{Bound, Row};
use crate::{Setting, create, hosted, place};

/// A call is short; more of them make the median steady.
const TIMES: usize = 50;
/// Calls that warm both ways up.
const WARM_UP: usize = 100;
/// This program, inside.
const ASKER: &str = "/opt/hostel/asker";

/// Measures calls in turns.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let options = Options {
        key: None,
        keep_requests: 0,
    };
    let model = Model::bind_with(([127, 0, 0, 1], 0).into(), options)
        .await?
        .spawn();
    let mut straight = Straight::start(&model.addr().to_string()).await?;
    let data = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(hosted::below(&setting.hostel)?)?;
    let config = oci::Config::new(data.path().to_owned(), setting.hostel.clone(), GUEST);
    let provider = Oci::probe(config).await?;
    let id: SandboxId = "bench-egress".parse()?;
    let mut spec = create::spec(&id);
    spec.read_only = vec![Mount {
        source: hosted::myself()?,
        target: ASKER.into(),
    }];
    let made = provider.create(&spec).await?;
    let (guest, incoming) = Guest::connect(made.stream).await?;
    let listening = guest.listen(place::MODEL_PORT, "model").await?;
    let serving = tokio::spawn(serve(incoming, way_out(&model.url())?));
    let mut inside = Inside::start(&guest).await?;
    quiet().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + setting.rounds * TIMES {
        let (through, direct) = if round % 2 == 0 {
            let through = inside.ask().await?;
            (through, straight.ask().await?)
        } else {
            let direct = straight.ask().await?;
            (inside.ask().await?, direct)
        };
        if round >= WARM_UP {
            ours.push(through);
            theirs.push(direct);
        }
    }
    straight.child.kill().await?;
    drop((inside, listening));
    guest.close();
    serving.abort();
    provider.destroy(&id).await?;
    data.close()?;
    model.stop().await;
    Ok(vec![
        Row::times(
            "model call from a sandbox, first byte",
            &ours,
            &[Bound::Added(0.5)],
        )
        .against("straight to the model", &theirs),
    ])
}

/// The asker outside.
struct Straight {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Straight {
    async fn start(address: &str) -> Result<Straight> {
        let mut child = Command::new(hosted::myself()?)
            .args(["ask", address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Straight {
            child,
            input,
            output,
        })
    }

    async fn ask(&mut self) -> Result<Duration> {
        self.input.write_all(b"\n").await?;
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await??;
        Ok(Duration::from_nanos(
            line.context("the asker ended")?.parse()?,
        ))
    }
}

/// The asker in a sandbox.
struct Inside {
    input: ProcessInput,
    output: ProcessOutput,
}

impl Inside {
    async fn start(guest: &Guest) -> Result<Inside> {
        let spec = ProcessSpec {
            argv: vec![
                ASKER.to_owned(),
                "ask".to_owned(),
                format!("127.0.0.1:{}", place::MODEL_PORT),
            ],
            env: Vec::new(),
            cwd: "/".to_owned(),
            terminal: None,
            user: None,
        };
        let (input, output) = guest.spawn(spec).await?.split();
        Ok(Inside { input, output })
    }

    async fn ask(&mut self) -> Result<Duration> {
        self.input.write(b"\n").await?;
        loop {
            match tokio::time::timeout(PATIENCE, self.output.next()).await?? {
                // An answer is a short line, which is written and carried as one.
                Some(Output::Stdout(bytes)) => {
                    return Ok(Duration::from_nanos(
                        std::str::from_utf8(&bytes)?.trim().parse()?,
                    ));
                }
                Some(Output::Stderr(bytes)) => eprint!("{}", String::from_utf8_lossy(&bytes)),
                ended => bail!("the asker in the sandbox ended: {ended:?}"),
            }
        }
    }
}

async fn serve(mut incoming: Incoming, egress: Egress) {
    while let Some((_, io)) = incoming.accept().await {
        egress
            .serve_model(ClientId("bench".to_owned()), None, io)
            .await;
    }
}

fn way_out(model: &str) -> Result<Egress> {
    let policy = Policy::new(Networking::Unrestricted);
    let world = Arc::new(World(watch::Sender::new(Arc::new(policy))));
    let windows = Windows {
        policies: world.clone(),
        credentials: world.clone(),
        usage: world.clone(),
        audit: world,
        resolver: Arc::new(SystemResolver),
        clock: SystemTime::now,
    };
    Ok(Egress::new(
        Config::new(model.parse()?, Slot("model".into())),
        windows,
    )?)
}

/// Everything is allowed, and every key is the same.
struct World(watch::Sender<Arc<Policy>>);

impl Policies for World {
    fn of(&self, _: &ClientId) -> Option<Standing> {
        Some(Standing {
            policy: self.0.subscribe(),
            traffic: Arc::default(),
            owner: Arc::default(),
        })
    }
}

impl Audit for World {
    fn record(&self, _: Record) {}
}

#[async_trait]
impl Credentials for World {
    async fn resolve(&self, _: &Slot) -> Result<Secret, CredentialError> {
        Ok(Secret::new("key"))
    }
}

#[async_trait]
impl UsageSink for World {
    fn payer(&self, _: &ClientId) -> Option<Arc<str>> {
        Some("bench".into())
    }

    async fn reserve(&self, _: Estimate) -> Admission {
        Admission::Allow(Box::new(Nothing))
    }
}

/// Nothing is set aside.
struct Nothing;

impl Reservation for Nothing {
    fn settle(self: Box<Self>, _: Usage) {}
}
