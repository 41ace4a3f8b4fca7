//! The server's side: a provider that asks the keeper.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::{codec::Decoder, sync::CancellationToken};

use super::wire::{self, Ask, FrameError, MOST, Reply, Request, Told};
use crate::provider::{
    Abilities, Footprints, GroupLimits, LimitHits, Observed, Provider, ProviderError, Reclaimed,
    Sandbox, SandboxId, Spec,
};

/// Bytes that are read at a time: more than any reply but the longest lists.
const CHUNK: usize = 16 << 10;

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The keeper could not be spoken to.
    #[error("cannot reach the keeper of the sandboxes, a process of this program")]
    Reach(#[source] io::Error),
    /// The keeper tried, and sandboxes cannot be made as asked.
    #[error("{0}")]
    Refused(String),
}

/// A provider whose sandboxes a keeper makes. Dropping it ends the keeper with all of them.
pub struct Remote {
    abilities: Abilities,
    line: Arc<Line>,
    /// Reading and writing.
    _tasks: JoinSet<()>,
}

/// What all calls share.
struct Line {
    next: AtomicU64,
    /// Room for requests. Those beyond wait.
    places: Arc<Semaphore>,
    /// Those that wait for a reply; `None` when none will come any more.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    /// Has room for a request and a cancellation of each place, so it is never full.
    outgoing: mpsc::Sender<Bytes>,
    lost: CancellationToken,
}

struct Waiting {
    reply: oneshot::Sender<Answer>,
    /// Given back with the reply: until then the keeper may still be at it.
    _place: OwnedSemaphorePermit,
}

struct Answer {
    told: Told,
    link: Option<OwnedFd>,
}

impl Remote {
    /// Lets a keeper begin: everything is tried by making a sandbox.
    ///
    /// # Errors
    /// When the keeper is not there, or sandboxes cannot be made as its bounds ask.
    pub async fn begin(socket: StdStream) -> Result<Self, BeginError> {
        socket.set_nonblocking(true).map_err(BeginError::Reach)?;
        let socket = UnixStream::from_std(socket).map_err(BeginError::Reach)?;
        let (reader, writer) = socket.into_split();
        let (outgoing, frames) = mpsc::channel(2 * MOST);
        let line = Arc::new(Line {
            next: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(MOST)),
            waiting: Mutex::new(Some(HashMap::new())),
            outgoing,
            lost: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(write(writer, frames));
        tasks.spawn(read(reader, line.clone()));
        let reached = |source| BeginError::Reach(io::Error::other(source));
        let begun = line.ask(Ask::Begin, &[]).await.map_err(reached)?;
        match begun.told {
            Told::Begun(abilities) => Ok(Self {
                abilities,
                line,
                _tasks: tasks,
            }),
            Told::NotBegun(reason) => Err(BeginError::Refused(reason)),
            other => Err(reached(strange(&other))),
        }
    }

    /// Resolves when the keeper is gone. Its sandboxes cannot be frozen or destroyed any more, and no
    /// new ones be made: the server has to end.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        self.line.lost.clone().cancelled_owned()
    }

    async fn call(&self, ask: Ask) -> Result<Told, ProviderError> {
        Ok(self.line.ask(ask, &[]).await?.told)
    }

    /// Asks for what has no answer but that it was done.
    async fn order(&self, ask: Ask) -> Result<(), ProviderError> {
        match self.call(ask).await? {
            Told::Done => Ok(()),
            other => Err(strange(&other)),
        }
    }
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        // Every change is one insertion or removal, so a panic leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and waits for its reply. Dropped, it stays sent.
    async fn ask(&self, ask: Ask, tail: &[&[u8]]) -> Result<Answer, ProviderError> {
        let (_, receiver) = self.send(ask, tail).await?;
        receive(receiver).await
    }

    async fn send(
        &self,
        ask: Ask,
        tail: &[&[u8]],
    ) -> Result<(u64, oneshot::Receiver<Answer>), ProviderError> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| gone())?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = wire::encode(&Request { number, ask }, tail).map_err(unsent)?;
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting {
            reply,
            _place: place,
        };
        let mut table = self.waiting();
        table.as_mut().ok_or_else(gone)?.insert(number, waiting);
        self.outgoing.try_send(frame).map_err(|_| gone())?;
        Ok((number, receiver))
    }

    /// Tells the keeper that nobody waits for this making.
    fn cancel(&self, number: u64) {
        let ask = Ask::Cancel;
        if let Ok(frame) = wire::encode(&Request { number, ask }, &[]) {
            // Fails when the keeper is gone, and then there is nothing to tell.
            let _ = self.outgoing.try_send(frame);
        }
    }
}

/// Cancels a making whose future is dropped.
struct Cancelling<'a> {
    line: &'a Line,
    number: Option<u64>,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.line.cancel(number);
        }
    }
}

async fn receive(receiver: oneshot::Receiver<Answer>) -> Result<Answer, ProviderError> {
    match receiver.await {
        Ok(Answer {
            told: Told::Refused(error),
            ..
        }) => Err(error),
        Ok(answer) => Ok(answer),
        Err(_) => Err(gone()),
    }
}

fn gone() -> ProviderError {
    ProviderError::Host {
        step: "ask the keeper of the sandboxes".to_owned(),
        source: io::ErrorKind::BrokenPipe.into(),
    }
}

fn strange(told: &Told) -> ProviderError {
    ProviderError::Host {
        step: "understand the keeper of the sandboxes".to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, format!("it said {told:?}")),
    }
}

fn unsent(error: FrameError) -> ProviderError {
    ProviderError::Spec {
        field: "description".into(),
        reason: error.to_string(),
    }
}

/// Sends frames whole, whoever waits for their replies.
async fn write(mut socket: OwnedWriteHalf, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        // Reading ends, too, when the keeper is gone, and says so.
        if socket.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Hands replies to those who wait, until the keeper is gone.
async fn read(socket: OwnedReadHalf, line: Arc<Line>) {
    if let Err(error) = read_all(socket.as_ref(), &line).await {
        tracing::error!(%error, "lost the keeper of the sandboxes: {error}");
    }
    // Whoever waits is told by the end of its channel.
    *line.waiting() = None;
    line.lost.cancel();
}

async fn read_all(socket: &UnixStream, line: &Line) -> io::Result<()> {
    let (mut bytes, mut links) = (BytesMut::new(), VecDeque::new());
    let mut codec = wire::codec();
    loop {
        if read_some(socket, &mut bytes, &mut links).await? == 0 {
            return Ok(());
        }
        while let Some(frame) = codec.decode(&mut bytes)? {
            let decoded = wire::decode(frame.freeze()).map_err(io::Error::other)?;
            let (Reply { number, told }, _) = decoded;
            // They come in the order of their replies.
            let link = match told {
                Told::Made(_) => links.pop_front(),
                _ => None,
            };
            let waiting = line.waiting().as_mut().and_then(|all| all.remove(&number));
            if let Some(waiting) = waiting {
                // Nobody waits when the call was dropped: then the link ends here.
                let _ = waiting.reply.send(Answer { told, link });
            }
        }
    }
}

async fn read_some(
    socket: &UnixStream,
    bytes: &mut BytesMut,
    links: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    socket
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut chunk = [0; CHUNK];
            let parts = &mut [IoSliceMut::new(&mut chunk)];
            let got = recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    links.extend(descriptors);
                }
            }
            bytes.extend_from_slice(&chunk[..got.bytes]);
            Ok(got.bytes)
        })
        .await
}

#[async_trait]
impl Provider for Remote {
    fn abilities(&self) -> Abilities {
        self.abilities.clone()
    }

    async fn create(&self, spec: &Spec) -> Result<Sandbox, ProviderError> {
        let trusted = spec.trusted.as_ref();
        let tail = trusted.map(|lists| [lists.all.as_bytes(), lists.own.as_bytes(), &lists.java]);
        let ask = Ask::Create {
            spec: Box::new(Spec {
                trusted: None,
                ..spec.clone()
            }),
            trusted: trusted.map(|lists| (lists.all.len(), lists.own.len())),
        };
        let tail = tail.as_ref().map_or(&[][..], |tail| &tail[..]);
        let (number, receiver) = self.line.send(ask, tail).await?;
        let mut cancelling = Cancelling {
            line: &self.line,
            number: Some(number),
        };
        let answer = receive(receiver).await;
        cancelling.number = None;
        match answer? {
            Answer {
                told: Told::Made(description),
                link: Some(link),
            } => Ok(Sandbox {
                id: spec.id.clone(),
                stream: Box::new(stream(link)?),
                description,
            }),
            Answer { told, .. } => Err(strange(&told)),
        }
    }

    async fn list(&self) -> Result<Vec<Observed>, ProviderError> {
        match self.call(Ask::List).await? {
            Told::Listed(found) => Ok(found),
            other => Err(strange(&other)),
        }
    }

    async fn limits(&self, id: &SandboxId) -> Result<LimitHits, ProviderError> {
        match self.call(Ask::Limits(id.clone())).await? {
            Told::Hits(hits) => Ok(hits),
            other => Err(strange(&other)),
        }
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), ProviderError> {
        self.order(Ask::Destroy(id.clone())).await
    }

    async fn freeze(&self, id: &SandboxId, group: Option<&str>) -> Result<(), ProviderError> {
        let group = group.map(str::to_owned);
        self.order(Ask::Freeze(id.clone(), group)).await
    }

    async fn thaw(&self, id: &SandboxId, group: Option<&str>) -> Result<(), ProviderError> {
        let group = group.map(str::to_owned);
        self.order(Ask::Thaw(id.clone(), group)).await
    }

    async fn reclaim(&self, id: &SandboxId) -> Result<Reclaimed, ProviderError> {
        match self.call(Ask::Reclaim(id.clone())).await? {
            Told::Reclaimed(reclaimed) => Ok(reclaimed),
            other => Err(strange(&other)),
        }
    }

    async fn yield_to_others(&self, id: &SandboxId, yields: bool) -> Result<(), ProviderError> {
        self.order(Ask::YieldToOthers(id.clone(), yields)).await
    }

    async fn limit_processor(
        &self,
        id: &SandboxId,
        millis: Option<u32>,
    ) -> Result<(), ProviderError> {
        self.order(Ask::LimitProcessor(id.clone(), millis)).await
    }

    async fn footprints(&self, id: &SandboxId) -> Result<Footprints, ProviderError> {
        match self.call(Ask::Footprints(id.clone())).await? {
            Told::Footprints(footprints) => Ok(footprints),
            other => Err(strange(&other)),
        }
    }

    async fn group(
        &self,
        id: &SandboxId,
        name: &str,
        limits: GroupLimits,
    ) -> Result<(), ProviderError> {
        let ask = Ask::Group(id.clone(), name.to_owned(), limits);
        self.order(ask).await
    }

    async fn join(&self, id: &SandboxId, name: &str, pid: u32) -> Result<(), ProviderError> {
        self.order(Ask::Join(id.clone(), name.to_owned(), pid))
            .await
    }

    async fn group_limits(&self, id: &SandboxId, name: &str) -> Result<LimitHits, ProviderError> {
        let ask = Ask::GroupLimits(id.clone(), name.to_owned());
        match self.call(ask).await? {
            Told::Hits(hits) => Ok(hits),
            other => Err(strange(&other)),
        }
    }

    async fn kill_group(&self, id: &SandboxId, name: &str) -> Result<(), ProviderError> {
        self.order(Ask::KillGroup(id.clone(), name.to_owned()))
            .await
    }
}

/// The link as a stream of this process.
fn stream(link: OwnedFd) -> Result<UnixStream, ProviderError> {
    let stream = StdStream::from(link);
    let nonblocking = stream.set_nonblocking(true);
    nonblocking
        .and_then(|()| UnixStream::from_std(stream))
        .map_err(|source| ProviderError::Host {
            step: "take the link".to_owned(),
            source,
        })
}
