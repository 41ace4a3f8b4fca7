//! The keeper's side: takes requests, keeps to the bounds, lets the provider do them, and in the end
//! destroys everything.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use nix::fcntl::{Flock, FlockArg};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::Interest,
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tracing::{info, warn};

use super::{
    Bounds,
    wire::{self, Ask, FrameError, MOST, Reply, Request, Told},
};
use crate::{
    oci::{self, Oci},
    provider::{Provider, ProviderError, Spec},
};

/// How long another keeper of the same data directory may take to end: it destroys the sandboxes of a
/// server that was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often we look whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// Replies that wait for a server that does not read. When it is full, requests wait to be answered, and
/// [`MOST`] of them is all that can come.
const QUEUE: usize = 16;

/// Why a keeper ended other than with its server.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Whoever started it did not say what may be asked.
    #[error("this is started by the server, with its bounds on standard input")]
    NoBounds(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The socket is broken.
    #[error("cannot listen to the server")]
    Socket(#[source] io::Error),
    /// What came is no request, or comes at the wrong time.
    #[error("what the server said is no request")]
    Garbage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More requests than an honest server sends at a time.
    #[error("the server has more than {MOST} requests under way")]
    TooMany,
    /// A request ended in a panic.
    #[error("a request failed in a way that nobody foresaw")]
    Broken,
}

/// A keeper that knows its bounds and was asked for nothing yet.
pub struct Keeper {
    bounds: Bounds,
    frames: Frames,
    writer: OwnedWriteHalf,
}

type Frames = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// A reply on its way.
struct Out {
    bytes: Bytes,
    link: Option<OwnedFd>,
}

impl Keeper {
    /// Takes the bounds from whoever started this process.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn receive(socket: StdStream) -> Result<Self, KeeperError> {
        socket.set_nonblocking(true).map_err(KeeperError::Socket)?;
        let socket = UnixStream::from_std(socket).map_err(KeeperError::Socket)?;
        let (reader, writer) = socket.into_split();
        let mut frames = FramedRead::new(reader, wire::codec());
        let first = match frames.next().await {
            Some(first) => first.map_err(KeeperError::Socket)?,
            None => return Err(KeeperError::NoBounds("nothing came".into())),
        };
        let decoded = wire::decode(first.freeze());
        let (bounds, _) = decoded.map_err(|error| KeeperError::NoBounds(error.into()))?;
        Ok(Self {
            bounds,
            frames,
            writer,
        })
    }

    /// What may be asked.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Keeps sandboxes until the server ends, then destroys them. `helper` is our own binary, `guest`
    /// the program inside.
    ///
    /// # Errors
    /// When the server says what an honest one does not. The sandboxes are destroyed all the same.
    pub async fn serve(mut self, helper: PathBuf, guest: &'static [u8]) -> Result<(), KeeperError> {
        let Some((request, _)) = next(&mut self.frames).await? else {
            return Ok(());
        };
        let Ask::Begin = request.ask else {
            return Err(KeeperError::Garbage("it did not begin".into()));
        };
        let (replies, outgoing) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(send(self.writer, outgoing));
        let begun = begin(&self.bounds, helper, guest).await;
        let told = match &begun {
            Ok((_, oci)) => Told::Begun(oci.abilities()),
            Err(reason) => Told::NotBegun(reason.clone()),
        };
        reply(&replies, request.number, told, None).await;
        let ended = match begun {
            Ok((_alone, oci)) => {
                let ended = work(&self.bounds, &oci, &mut self.frames, &replies).await;
                clear(&oci).await;
                ended
            }
            // Nothing more is asked of one that cannot.
            Err(_) => next(&mut self.frames).await.map(drop),
        };
        drop(replies);
        tasks.shutdown().await;
        ended
    }
}

/// The next request; `None` when the server has ended.
async fn next(frames: &mut Frames) -> Result<Option<(Request, Bytes)>, KeeperError> {
    let frame = match frames.next().await {
        None => return Ok(None),
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(KeeperError::Garbage(error.into()));
        }
        // The server was killed in the middle of a request.
        Some(Err(error)) if is_end(&error) => return Ok(None),
        Some(frame) => frame.map_err(KeeperError::Socket)?,
    };
    match wire::decode(frame.freeze()) {
        Ok(request) => Ok(Some(request)),
        Err(error) => Err(KeeperError::Garbage(error.into())),
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, Other, UnexpectedEof};
    // `Other` is what the codec says of a frame that is cut short by the end.
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | Other | UnexpectedEof
    )
}

/// Becomes the only keeper of the data directory and tries everything. An error is a sentence.
async fn begin(
    bounds: &Bounds,
    helper: PathBuf,
    guest: &'static [u8],
) -> Result<(Flock<File>, Oci), String> {
    let alone = alone(&bounds.data).await?;
    let mut config = oci::Config::new(bounds.data.clone(), helper, guest);
    config.runtime = bounds.runtime.clone();
    config.disk = bounds.disk;
    match Oci::probe(config).await {
        Ok(oci) => Ok((alone, oci)),
        Err(error) => Err(oci::chain(&error)),
    }
}

/// Waits for the end of an earlier keeper, which destroys the sandboxes of its own server.
async fn alone(data: &Path) -> Result<Flock<File>, String> {
    let place = data.join("sandboxes");
    let failed = |error: io::Error| format!("cannot lock {}: {error}", place.display());
    std::fs::create_dir_all(&place).map_err(failed)?;
    let waiting = async {
        let mut directory = File::open(&place).map_err(failed)?;
        loop {
            match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, nix::errno::Errno::EWOULDBLOCK)) => directory = again,
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        Err(format!(
            "the keeper of an earlier server did not end within {seconds} seconds"
        ))
    })
}

/// Does what is asked, side by side, until the server ends.
async fn work(
    bounds: &Bounds,
    oci: &Oci,
    frames: &mut Frames,
    replies: &mpsc::Sender<Out>,
) -> Result<(), KeeperError> {
    let bounds = Arc::new(bounds.clone());
    let mut under_way: HashMap<u64, Option<oneshot::Sender<()>>> = HashMap::new();
    // Dropping it ends what is under way; `clear` removes what that made.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Some(done) = tasks.join_next() => match done {
                Ok(number) => drop(under_way.remove(&number)),
                Err(_) => return Err(KeeperError::Broken),
            },
            request = next(frames) => {
                let Some((Request { number, ask }, tail)) = request? else { return Ok(()) };
                if let Ask::Cancel = ask {
                    // Gone already when the reply and this crossed.
                    if let Some(cancel) = under_way.get_mut(&number).and_then(Option::take) {
                        let _ = cancel.send(());
                    }
                    continue;
                }
                if under_way.len() >= MOST {
                    return Err(KeeperError::TooMany);
                }
                let (cancel, cancelled) = oneshot::channel();
                if under_way.insert(number, Some(cancel)).is_some() {
                    return Err(KeeperError::Garbage("a number came twice".into()));
                }
                let ask = whole(ask, &tail).map_err(|error| KeeperError::Garbage(error.into()))?;
                let (bounds, oci, replies) = (bounds.clone(), oci.clone(), replies.clone());
                tasks.spawn(async move {
                    let (told, link) = perform(&bounds, &oci, ask, cancelled).await;
                    reply(&replies, number, told, link).await;
                    number
                });
            }
        }
    }
}

/// Puts the tail of a request where it belongs.
fn whole(mut ask: Ask, tail: &Bytes) -> Result<Ask, FrameError> {
    if let Ask::Create {
        spec,
        trusted: Some(lengths),
    } = &mut ask
    {
        spec.trusted = Some(wire::trusted(tail, *lengths)?);
    }
    Ok(ask)
}

async fn perform(
    bounds: &Bounds,
    oci: &Oci,
    ask: Ask,
    cancelled: oneshot::Receiver<()>,
) -> (Told, Option<OwnedFd>) {
    if let Ask::Create { spec, .. } = ask {
        let id = spec.id.clone();
        let made = tokio::select! {
            made = create(bounds, oci, *spec) => made,
            // The sender goes with the loop above, and this task with it.
            _ = cancelled => {
                // What is being made goes on being made by a thread; only then is there room again.
                oci.settled(&id).await;
                return (Told::Cancelled, None);
            }
        };
        return match made {
            Ok((link, told)) => (told, Some(link)),
            Err(error) => (refused(error), None),
        };
    }
    (answer(oci, ask).await.unwrap_or_else(refused), None)
}

async fn create(bounds: &Bounds, oci: &Oci, spec: Spec) -> Result<(OwnedFd, Told), ProviderError> {
    let present = std::fs::read_dir(bounds.data.join("sandboxes"));
    bounds.check(&spec, present.into_iter().flatten().count())?;
    let (link, description) = oci.make(&spec).await?;
    let link = link.into_std().map_err(|source| ProviderError::Host {
        step: "hand over the link".to_owned(),
        source,
    })?;
    Ok((link.into(), Told::Made(description)))
}

async fn answer(oci: &Oci, ask: Ask) -> Result<Told, ProviderError> {
    let done = |()| Told::Done;
    match ask {
        Ask::List => oci.list().await.map(Told::Listed),
        Ask::Limits(id) => oci.limits(&id).await.map(Told::Hits),
        Ask::Destroy(id) => oci.destroy(&id).await.map(done),
        Ask::Freeze(id, group) => oci.freeze(&id, group.as_deref()).await.map(done),
        Ask::Thaw(id, group) => oci.thaw(&id, group.as_deref()).await.map(done),
        Ask::Reclaim(id) => oci.reclaim(&id).await.map(Told::Reclaimed),
        Ask::YieldToOthers(id, yields) => oci.yield_to_others(&id, yields).await.map(done),
        Ask::LimitProcessor(id, millis) => oci.limit_processor(&id, millis).await.map(done),
        Ask::Footprints(id) => oci.footprints(&id).await.map(Told::Footprints),
        Ask::Group(id, name, limits) => oci.group(&id, &name, limits).await.map(done),
        Ask::Join(id, name, pid) => oci.join(&id, &name, pid).await.map(done),
        Ask::GroupLimits(id, name) => oci.group_limits(&id, &name).await.map(Told::Hits),
        Ask::KillGroup(id, name) => oci.kill_group(&id, &name).await.map(done),
        Ask::Begin | Ask::Cancel | Ask::Create { .. } => Err(ProviderError::Unable {
            what: "begun twice".into(),
            reason: "it has begun".into(),
        }),
    }
}

/// Says in our own log what the server asked for beyond its bounds: it is told there, too, but may have
/// been taken over.
fn refused(error: ProviderError) -> Told {
    if let ProviderError::Spec { field, reason } = &error {
        warn!("refused a sandbox: the {field} cannot be used: {reason}");
    }
    Told::Refused(error)
}

async fn reply(replies: &mpsc::Sender<Out>, number: u64, told: Told, link: Option<OwnedFd>) {
    let bytes = wire::encode(&Reply { number, told }, &[]).or_else(|error| {
        let told = Told::Refused(ProviderError::Host {
            step: "answer".to_owned(),
            source: io::Error::other(error),
        });
        wire::encode(&Reply { number, told }, &[])
    });
    if let Ok(bytes) = bytes {
        // Fails when the server is gone: then the link ends here.
        let _ = replies.send(Out { bytes, link }).await;
    }
}

/// Sends replies until the server is gone.
async fn send(socket: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Out>) {
    while let Some(mut out) = outgoing.recv().await {
        while out.bytes.has_remaining() {
            match send_some(socket.as_ref(), &out.bytes, out.link.as_ref()).await {
                Ok(sent) => {
                    out.bytes.advance(sent);
                    // It has gone with the first byte.
                    out.link = None;
                }
                // The end of the requests says the same.
                Err(_) => return,
            }
        }
    }
}

async fn send_some(socket: &UnixStream, bytes: &[u8], link: Option<&OwnedFd>) -> io::Result<usize> {
    socket
        .async_io(Interest::WRITABLE, || {
            let descriptors = [link.map(AsFd::as_fd)];
            let descriptors: Vec<_> = descriptors.into_iter().flatten().collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let sent = sendmsg(
                socket,
                &[IoSlice::new(bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            );
            Ok(sent?)
        })
        .await
}

/// Destroys everything: the server that it was made for is no more.
async fn clear(oci: &Oci) {
    let found = match oci.list().await {
        Ok(found) => found,
        Err(error) => {
            return warn!(
                error = &error as &dyn std::error::Error,
                "cannot look for sandboxes"
            );
        }
    };
    if found.is_empty() {
        return;
    }
    info!("the server has ended; destroying {} sandboxes", found.len());
    let mut tasks = JoinSet::new();
    let ids: HashSet<_> = found.into_iter().map(|found| found.id).collect();
    for id in ids {
        let oci = oci.clone();
        tasks.spawn(async move {
            if let Err(error) = oci.destroy(&id).await {
                let error = &error as &dyn std::error::Error;
                warn!(sandbox.id = %id, error, "cannot destroy sandbox {id}; the next start does");
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
