//! What egress adds to the time to the first byte of a model call.
//!
//! Two clients on kept connections ask the scripted model the same thing in
//! turns, one straight over TCP, one through `serve_model` over a Unix socket
//! pair, as the link hands it over. Both read until the first bytes of the
//! answer's body. Prints medians and the difference:
//! `cargo run --release -p egress --example ttfb -- 2000`.

#![allow(clippy::unwrap_used, reason = "a measurement that fails should stop")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use egress::{
    Admission, Audit, ClientId, Config, CredentialError, Credentials, Egress, Estimate, Networking,
    Policies, Policy, Record, Reservation, Secret, Slot, Standing, SystemResolver, Usage,
    UsageSink, Windows,
};
use model::{Model, Options};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

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
        Some("one".into())
    }

    async fn reserve(&self, _: Estimate) -> Admission {
        Admission::Allow(Box::new(Nothing))
    }
}

struct Nothing;

impl Reservation for Nothing {
    fn settle(self: Box<Self>, usage: Usage) {
        assert_eq!(usage.status, 200);
    }
}

/// A request of the size that the CLI sends: about 42 kB.
fn request() -> Vec<u8> {
    let body = format!(
        r#"{{"model":"claude-opus-5-5","max_tokens":100,"stream":true,"system":"{}","messages":[{{"role":"user","content":"@say hello"}}]}}"#,
        "x".repeat(42_000)
    );
    format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: placeholder\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// From the first byte written to the first byte of the body.
async fn ask<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I, request: &[u8]) -> Duration {
    let began = Instant::now();
    io.write_all(request).await.unwrap();
    let (mut bytes, mut first) = (Vec::with_capacity(16 * 1024), None);
    while !bytes.ends_with(b"0\r\n\r\n") {
        assert!(io.read_buf(&mut bytes).await.unwrap() > 0);
        if first.is_none() && bytes.windows(6).any(|six| six == b"event:") {
            first = Some(began.elapsed());
        }
    }
    first.unwrap()
}

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 95 / 100])
}

#[tokio::main]
async fn main() {
    let rounds = std::env::args()
        .nth(1)
        .map_or(2_000, |rounds| rounds.parse().unwrap());
    let options = Options {
        key: None,
        keep_requests: 0,
    };
    let model = Model::bind_with(([127, 0, 0, 1], 0).into(), options)
        .await
        .unwrap()
        .spawn();
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
    let config = Config::new(model.url().parse().unwrap(), Slot("model".into()));
    let egress = Egress::new(config, windows).unwrap();

    let mut straight = TcpStream::connect(model.addr()).await.unwrap();
    straight.set_nodelay(true).unwrap();
    let (mut through, far) = UnixStream::pair().unwrap();
    let serving =
        tokio::spawn(async move { egress.serve_model(ClientId("s".into()), None, far).await });

    let request = request();
    let (mut direct, mut carried) = (Vec::new(), Vec::new());
    for round in 0..rounds + 200 {
        let times = (
            ask(&mut straight, &request).await,
            ask(&mut through, &request).await,
        );
        // The first rounds warm both ways up.
        if round >= 200 {
            direct.push(times.0);
            carried.push(times.1);
        }
    }
    drop(through);
    serving.await.unwrap();
    let ((direct, direct95), (carried, carried95)) = (median(direct), median(carried));
    println!("straight      median {direct:?}  p95 {direct95:?}");
    println!("through       median {carried:?}  p95 {carried95:?}");
    println!(
        "added, median {:?} (must be at most 500µs)",
        carried.saturating_sub(direct)
    );
    model.stop().await;
}
