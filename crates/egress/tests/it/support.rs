//! Fixtures: an upstream that does as a test says, windows that a test can see
//! through, and a client that writes its own bytes.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use egress::{
    Admission, Audit, Authority, ClientId, Config, CredentialError, Credentials, Egress, Estimate,
    Networking, Placeholder, Policies, Policy, Record as Decision, Reservation, Resolver, Secret,
    Slot, Standing, Traffic, Usage, UsageSink, Windows,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What nobody but upstream may ever see.
pub const KEY: &str = "sk-real-key-4711";

/// Longer than anything here takes.
pub const LIMIT: Duration = Duration::from_secs(10);

pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LIMIT, future)
        .await
        .expect("it happens within the limit")
}

/// The windows of a test.
pub struct World {
    pub policy: watch::Sender<Arc<Policy>>,
    /// Whether clients have no policy at all.
    pub unknown: AtomicBool,
    pub traffic: Arc<Traffic>,
    pub key: Mutex<Option<String>>,
    /// What is behind the other slots.
    pub secrets: Mutex<HashMap<String, String>>,
    /// What they are renewed to; `None` when that fails.
    pub renewals: Mutex<HashMap<String, Option<String>>>,
    /// What the sentence says when calls are refused.
    pub refuse: Mutex<Option<&'static str>>,
    /// What was set aside, call by call.
    pub reserved: Mutex<Vec<Estimate>>,
    pub names: Mutex<HashMap<String, Vec<IpAddr>>>,
    pub resolutions: AtomicUsize,
    usage: mpsc::Sender<Usage>,
    decisions: mpsc::Sender<Decision>,
}

impl Policies for World {
    fn of(&self, _: &ClientId) -> Option<Standing> {
        let known = !self.unknown.load(Ordering::SeqCst);
        known.then(|| Standing {
            policy: self.policy.subscribe(),
            traffic: self.traffic.clone(),
            owner: Arc::default(),
        })
    }
}

impl Audit for World {
    fn record(&self, record: Decision) {
        give(&self.decisions, record);
    }
}

#[async_trait]
impl Credentials for World {
    async fn resolve(&self, slot: &Slot) -> Result<Secret, CredentialError> {
        let key = match slot.0.as_str() {
            "model" => self.key.lock().unwrap().clone(),
            other => self.secrets.lock().unwrap().get(other).cloned(),
        };
        key.map(Secret::new).ok_or(CredentialError::Missing)
    }

    async fn renewed(
        &self,
        _: &ClientId,
        slot: &Slot,
        refused: &Secret,
    ) -> Result<Option<Secret>, CredentialError> {
        let Some(renewal) = self.renewals.lock().unwrap().get(&slot.0).cloned() else {
            return Ok(None);
        };
        let new = renewal.ok_or(CredentialError::NotRenewed)?;
        assert!(!refused.is(&new));
        let old = self
            .secrets
            .lock()
            .unwrap()
            .insert(slot.0.clone(), new.clone());
        assert!(refused.is(&old.unwrap()));
        Ok(Some(Secret::new(new)))
    }
}

#[async_trait]
impl UsageSink for World {
    fn payer(&self, client: &ClientId) -> Option<Arc<str>> {
        Some(client.0.split('.').next().unwrap().into())
    }

    async fn reserve(&self, call: Estimate) -> Admission {
        self.reserved.lock().unwrap().push(call);
        match *self.refuse.lock().unwrap() {
            None => Admission::Allow(Box::new(Record(self.usage.clone()))),
            Some(message) => Admission::Refuse {
                status: 402,
                error_type: "billing_error",
                message: message.to_owned(),
            },
        }
    }
}

struct Record(mpsc::Sender<Usage>);

/// A test that is over does not look at what comes after it.
fn give<T>(to: &mpsc::Sender<T>, what: T) {
    if let Err(TrySendError::Full(_)) = to.try_send(what) {
        panic!("more than a test has room for");
    }
}

impl Reservation for Record {
    fn settle(self: Box<Self>, usage: Usage) {
        give(&self.0, usage);
    }
}

#[async_trait]
impl Resolver for World {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.resolutions.fetch_add(1, Ordering::SeqCst);
        let found = self.names.lock().unwrap().get(host).cloned();
        found.ok_or_else(|| io::Error::other("no such name"))
    }
}

/// Egress with its windows and its clients' connections.
pub struct Out {
    pub world: Arc<World>,
    pub usage: mpsc::Receiver<Usage>,
    pub egress: Egress,
    pub decisions: mpsc::Receiver<Decision>,
    /// The authority that the sandbox trusts.
    pub authority: Arc<Authority>,
    tasks: JoinSet<()>,
}

impl Out {
    pub fn to(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {})
    }

    pub fn with(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        let uri = format!("http://{upstream}").parse().unwrap();
        let mut config = Config::new(uri, Slot("model".into()));
        change(&mut config);
        let (sender, usage) = mpsc::channel(256);
        let (decided, decisions) = mpsc::channel(1024);
        let policy = Policy::new(Networking::Unrestricted);
        let world = Arc::new(World {
            policy: watch::Sender::new(Arc::new(policy)),
            unknown: AtomicBool::new(false),
            traffic: Arc::default(),
            decisions: decided,
            key: Mutex::new(Some(KEY.to_owned())),
            secrets: Mutex::default(),
            renewals: Mutex::default(),
            refuse: Mutex::default(),
            reserved: Mutex::default(),
            names: Mutex::default(),
            resolutions: AtomicUsize::new(0),
            usage: sender,
        });
        let windows = Windows {
            policies: world.clone(),
            credentials: world.clone(),
            usage: world.clone(),
            resolver: world.clone(),
            audit: world.clone(),
            clock: SystemTime::now,
        };
        let egress = Egress::new(config, windows).unwrap();
        Self {
            world,
            usage,
            egress,
            decisions,
            authority: Arc::new(Authority::new().unwrap()),
            tasks: JoinSet::new(),
        }
    }

    /// A connection of the sandbox to its model address.
    pub fn model(&mut self) -> Client {
        self.model_of("s1", None)
    }

    /// A connection to the model address of `client`, whose seat shows `key`.
    pub fn model_of(&mut self, client: &str, key: Option<&str>) -> Client {
        let (near, far) = duplex(256 * 1024);
        let egress = self.egress.clone();
        let (client, key) = (ClientId(client.into()), key.map(Placeholder::new));
        self.tasks
            .spawn(async move { egress.serve_model(client, key, far).await });
        Client(near)
    }

    /// A connection of the sandbox to its proxy.
    pub fn proxy(&mut self) -> Client {
        let (near, far) = duplex(256 * 1024);
        let (egress, authority) = (self.egress.clone(), self.authority.clone());
        let client = ClientId("s1".into());
        self.tasks
            .spawn(async move { egress.serve_proxy(client, authority, far).await });
        Client(near)
    }

    /// A connection that a program in the sandbox made to a name by itself.
    pub fn by_name(&mut self, name: &str, port: u16) -> Client {
        let (near, far) = duplex(256 * 1024);
        let (egress, authority) = (self.egress.clone(), self.authority.clone());
        let (client, name) = (ClientId("s1".into()), name.to_owned());
        self.tasks.spawn(async move {
            let served = egress.serve_name(client, authority, &name, port, far);
            served.await;
        });
        Client(near)
    }

    /// The next decision that is recorded.
    pub async fn decision(&mut self) -> Decision {
        soon(self.decisions.recv()).await.unwrap()
    }

    /// The only record there is, once it is there.
    pub async fn one_usage(&mut self) -> Usage {
        let usage = soon(self.usage.recv()).await.unwrap();
        tokio::task::yield_now().await;
        assert!(self.usage.try_recv().is_err(), "one record a call");
        usage
    }
}

/// The sandbox's end of a connection.
pub struct Client(pub DuplexStream);

impl Client {
    pub async fn write(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    /// Sends a model call with this body.
    pub async fn call(&mut self, body: &str) {
        self.write(post(body)).await;
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A connection that breaks has said what it said.
        let _ = soon(self.0.read_to_end(&mut bytes)).await;
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until the text has come.
    pub async fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains(text) {
            let count = soon(self.0.read_buf(&mut bytes)).await.unwrap();
            assert!(
                count > 0,
                "{text:?} is not in {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        String::from_utf8(bytes).unwrap()
    }
}

pub const ASK: &str = r#"{"max_tokens":1,"messages":[],"model":"claude-opus-5-5","stream":true}"#;

pub fn post(body: &str) -> String {
    format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: placeholder\r\n\
         accept-encoding: gzip, br\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request as upstream got it.
#[derive(Debug, Clone)]
pub struct Got {
    pub head: String,
    pub body: String,
}

impl Got {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What upstream does with a connection after a request; it gives the stream
/// back to keep it open for the next one.
pub type Doing = Pin<Box<dyn Future<Output = Option<TcpStream>> + Send>>;

/// An upstream on a port of its own.
pub struct Upstream {
    pub addr: SocketAddr,
    pub got: mpsc::Receiver<Got>,
    pub connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub async fn start<F>(handler: F) -> Self
    where
        F: Fn(Got, TcpStream) -> Doing + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, got) = mpsc::channel(256);
        let connections = Arc::new(AtomicUsize::new(0));
        let (handler, count) = (Arc::new(handler), Arc::clone(&connections));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(connection(stream, Arc::clone(&handler), sender.clone()));
            }
        });
        Self {
            addr,
            got,
            connections,
            _tasks: tasks,
        }
    }

    /// An upstream that gives every request the same answer and keeps going.
    pub async fn saying(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut stream| {
            let answer = answer.clone();
            Box::pin(async move {
                stream.write_all(answer.as_bytes()).await.ok()?;
                Some(stream)
            })
        })
        .await
    }

    pub async fn next(&mut self) -> Got {
        soon(self.got.recv()).await.unwrap()
    }
}

async fn connection<F>(mut stream: TcpStream, handler: Arc<F>, got: mpsc::Sender<Got>)
where
    F: Fn(Got, TcpStream) -> Doing,
{
    let mut bytes = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut bytes).await {
        let _ = got.send(request.clone()).await;
        match handler(request, stream).await {
            Some(back) => stream = back,
            None => return,
        }
    }
}

/// Reads one request; `bytes` keeps what belongs to the next.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Got> {
    loop {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let got = Got {
                head: head.to_owned(),
                body: rest.to_owned(),
            };
            let end = match got.header("content-length") {
                Some(length) => Some(length.parse().unwrap()).filter(|end| *end <= rest.len()),
                None if got.header("transfer-encoding").is_some() => {
                    rest.find("0\r\n\r\n").map(|at| at + 5)
                }
                None => Some(0),
            };
            if let Some(end) = end {
                bytes.drain(..head.len() + 4 + end);
                return Some(Got {
                    body: rest[..end].to_owned(),
                    ..got
                });
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An answer with a length.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_7\r\ntransfer-encoding: chunked\r\n\r\n";

pub const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-opus-5-5\",\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}}\n\n";

pub const END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":50}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// One chunk of a chunked body.
pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A whole streamed answer.
pub fn stream() -> String {
    format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(START), chunk(END))
}
