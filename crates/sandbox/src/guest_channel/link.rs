//! The link: one task that owns the multiplexer, and the handle to ask it for streams.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use protocol::{MessageDecoder, Open, Opened};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tracing::debug;

use super::{
    error::LinkError,
    incoming::{self, Incoming},
    stream::{self, LinkStream},
};
use crate::GuestStream;

/// Streams the host may have open at a time; one more is refused. Half of what the multiplexer
/// takes, so that the guest's own streams always find room.
pub(super) const HOST_STREAMS_MAX: usize = 256;

/// Streams in both directions together. The guest never opens more than its own half; one that
/// does loses the link.
const STREAMS_MAX: usize = 512;

/// Bytes the host may have to hold for one sandbox when it does not read: the protocol's
/// 256 KiB for each stream, and 64 MiB shared by the streams whose throughput earns a larger
/// window.
const RECEIVE_WINDOW_MAX: usize = STREAMS_MAX * 256 * 1024 + 64 * 1024 * 1024;

/// The multiplexer's largest piece. Larger pieces cost fewer wake-ups; the window of a fresh
/// stream is four of these.
const SPLIT_SEND_SIZE: usize = 64 * 1024;

/// Joins the multiplexer's header and body in one system call, and several small frames in one
/// read. Pieces larger than this pass by the buffer.
const SOCKET_BUFFER: usize = 16 * 1024;

/// How long a guest may take to answer an `Open`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

type Connection = yamux::Connection<Compat<BufStream<GuestStream>>>;
type Answer = oneshot::Sender<Result<yamux::Stream, LinkError>>;

pub(super) struct Link {
    wishes: mpsc::Sender<Answer>,
    lingering: mpsc::Sender<stream::Lingering>,
    permits: Arc<Semaphore>,
    alive: watch::Receiver<()>,
    task: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(super) fn start(socket: GuestStream) -> (Arc<Self>, Incoming) {
        let mut config = yamux::Config::default();
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(RECEIVE_WINDOW_MAX));
        config.set_split_send_size(SPLIT_SEND_SIZE);
        let socket = BufStream::with_capacity(SOCKET_BUFFER, SOCKET_BUFFER, socket);
        let connection = yamux::Connection::new(socket.compat(), config, yamux::Mode::Client);

        // Both queues are as long as there are permits, and whoever sends holds one, so neither
        // is ever found full.
        let (wishes, wished) = mpsc::channel(HOST_STREAMS_MAX);
        let (lingering, lingered) = mpsc::channel(STREAMS_MAX);
        let (accepted, incoming) = mpsc::channel(incoming::QUEUE);
        let (alive_sender, alive) = watch::channel(());
        let driver = Driver {
            connection,
            wished,
            waiting: VecDeque::new(),
            lingered,
            accepted,
            lingering: lingering.clone(),
            tasks: JoinSet::new(),
        };
        let task = tokio::spawn(async move {
            // Dropped when the task ends in any way, which is what `closed` waits for.
            let _alive = alive_sender;
            driver.run().await;
        })
        .abort_handle();
        let permits = Arc::new(Semaphore::new(HOST_STREAMS_MAX));
        let link = Arc::new(Self {
            wishes,
            lingering,
            permits,
            alive,
            task,
        });
        let incoming = Incoming::new(incoming, link.clone());
        (link, incoming)
    }

    pub(super) fn close(&self) {
        self.task.abort();
    }

    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.alive.clone();
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Opens a stream whose answer must be a plain yes.
    pub(super) async fn open_ok(self: &Arc<Self>, open: &Open) -> Result<LinkStream, LinkError> {
        match self.open(open).await? {
            (stream, Opened::Ok) => Ok(stream),
            _ => Err(LinkError::UnexpectedAnswer),
        }
    }

    /// Opens a stream and waits for the guest's answer.
    pub(super) async fn open(
        self: &Arc<Self>,
        open: &Open,
    ) -> Result<(LinkStream, Opened), LinkError> {
        let message = protocol::encode(open)?;
        let ask = async {
            let mut stream = self.stream().await?;
            stream
                .write_all(&message)
                .await
                .map_err(|_| LinkError::Ended)?;
            let answer = read_message(&mut stream).await?;
            Ok((stream, protocol::decode_opened(&answer)?))
        };
        match timeout(ANSWER_TIMEOUT, ask).await {
            Err(_) => Err(LinkError::Timeout {
                seconds: ANSWER_TIMEOUT.as_secs(),
            }),
            Ok(Ok((_, Opened::Err(refusal)))) => Err(LinkError::Refused(refusal)),
            Ok(result) => result,
        }
    }

    async fn stream(self: &Arc<Self>) -> Result<LinkStream, LinkError> {
        let permit =
            self.permits
                .clone()
                .try_acquire_owned()
                .map_err(|_| LinkError::TooManyStreams {
                    max: HOST_STREAMS_MAX,
                })?;
        let (answer, stream) = oneshot::channel();
        self.wishes
            .send(answer)
            .await
            .map_err(|_| LinkError::Ended)?;
        let stream = stream.await.map_err(|_| LinkError::Ended)??;
        Ok(LinkStream::new(
            stream,
            self.lingering.clone(),
            Keep::ours(self.clone(), permit),
        ))
    }
}

/// What a stream holds on to while it lives.
pub(super) struct Keep {
    link: Option<Arc<Link>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Keep {
    fn ours(link: Arc<Link>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            link: Some(link),
            _permit: Some(permit),
        }
    }

    /// For a stream that the guest opened; the link is added when somebody takes it.
    pub(super) fn theirs() -> Self {
        Self {
            link: None,
            _permit: None,
        }
    }

    pub(super) fn hold(&mut self, link: Arc<Link>) {
        self.link = Some(link);
    }

    pub(super) fn release_link(&mut self) {
        self.link = None;
    }
}

/// Reads one message and not a byte more.
pub(super) async fn read_message(stream: &mut LinkStream) -> Result<bytes::Bytes, LinkError> {
    let mut decoder = MessageDecoder::default();
    let mut piece = [0; 4096];
    loop {
        if let Some(body) = decoder.next_body()? {
            return Ok(body);
        }
        let wanted = decoder.wanted().min(piece.len());
        match stream.read(&mut piece[..wanted]).await {
            Ok(0) | Err(_) => return Err(LinkError::Ended),
            Ok(len) => decoder.push(&piece[..len]),
        }
    }
}

/// Owns the multiplexer. Only this task touches the socket.
struct Driver {
    connection: Connection,
    wished: mpsc::Receiver<Answer>,
    waiting: VecDeque<Answer>,
    lingered: mpsc::Receiver<stream::Lingering>,
    accepted: mpsc::Sender<incoming::Waiting>,
    lingering: mpsc::Sender<stream::Lingering>,
    /// Handshakes of the guest's streams and streams that linger; no more than the multiplexer
    /// has streams.
    tasks: JoinSet<()>,
}

impl Driver {
    async fn run(mut self) {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        debug!("the link ended: {reason}");
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        while let Poll::Ready(Some(answer)) = self.wished.poll_recv(cx) {
            self.waiting.push_back(answer);
        }
        while let Poll::Ready(Some(lingering)) = self.lingered.poll_recv(cx) {
            self.tasks.spawn(lingering.drain());
        }
        while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
        while !self.waiting.is_empty() {
            match self.connection.poll_new_outbound(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                Poll::Ready(Ok(stream)) => {
                    let answer = self.waiting.pop_front().expect("the queue is not empty");
                    // Whoever wished may have given up meanwhile; the stream is dropped then.
                    let _ = answer.send(Ok(stream));
                }
            }
        }
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready("closed".to_owned()),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(error.to_string()),
                Poll::Ready(Some(Ok(stream))) => {
                    let stream = LinkStream::new(stream, self.lingering.clone(), Keep::theirs());
                    self.tasks
                        .spawn(incoming::shake_hands(stream, self.accepted.clone()));
                    // Registers the new task's waker with the set.
                    while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
                }
            }
        }
    }
}
