//! Loopback ports, both ways: the host dials in, or listens inside and is told who came.

use std::{cell::Cell, io, rc::Rc, sync::Arc, time::Duration};

use protocol::{ErrorCode, Open, Opened, Refusal};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    owner::{Owners, Protocol},
    serve::refuse,
    wire::{FromHost, LINGER, Stream, ToHost, discard, read_message},
};

/// Connections accepted and carried at a time, over all listeners. Below half of what the
/// multiplexer takes. Further ones wait in the listeners' backlogs.
pub const ACCEPTED_MAX: usize = 200;

/// And over one that is a member's, so that a member alone cannot take all of the above.
const MEMBERS_ACCEPTED_MAX: usize = 64;

/// How long the host may take to agree to carry a connection.
const AGREE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes moved at a time, for each direction of each connection.
const CHUNK: usize = 32 * 1024;

/// How listeners get streams to the host.
pub struct Acceptances {
    wishes: Wishes,
    room: Arc<Semaphore>,
    pub owners: Option<Owners>,
}

/// Who wants a stream to the host, and where it goes.
pub type Wishes = mpsc::Sender<oneshot::Sender<Stream>>;

impl Acceptances {
    pub fn new(wishes: Wishes, owners: Option<Owners>) -> Self {
        Self {
            wishes,
            room: Arc::new(Semaphore::new(ACCEPTED_MAX)),
            owners,
        }
    }

    /// Who is at the far end of a connection, if it still stands.
    pub fn owner(&self, connection: &TcpStream) -> Option<u32> {
        let (far, own) = (connection.peer_addr().ok()?, connection.local_addr().ok()?);
        self.owners.as_ref()?.of(Protocol::Tcp, far, own)
    }

    /// How to get streams.
    pub fn wishes(&self) -> Wishes {
        self.wishes.clone()
    }

    /// Waits for room to carry one more connection.
    pub async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_owned().await.ok()
    }
}

/// Opens a stream to the host and reads its answer.
pub async fn ask(wishes: Wishes, open: &Open) -> Option<(Opened, FromHost, ToHost)> {
    let asked = async {
        let (wish, stream) = oneshot::channel();
        wishes.send(wish).await.ok()?;
        let mut stream = stream.await.ok()?;
        stream.send(&protocol::encode(open).ok()?).await.ok()?;
        let (mut from_host, to_host) = stream.split();
        let answer = read_message(&mut from_host).await?;
        let opened = protocol::decode_opened(&answer).ok()?;
        Some((opened, from_host, to_host))
    };
    timeout(AGREE_TIMEOUT, asked).await.ok()?
}

/// Connects to a port and carries the connection; with a user id, only if that user answers.
pub async fn dial(acceptances: &Acceptances, mut stream: Stream, port: u16, uid: Option<u32>) {
    let mut connected = match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(connected) => connected,
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
                _ => ErrorCode::Failed,
            };
            let message = format!("connecting to 127.0.0.1:{port} inside: {error}");
            return refuse(stream, Refusal::new(code, message)).await;
        }
    };
    if uid.is_some() && acceptances.owner(&connected) != uid {
        let message = format!("somebody else listens on 127.0.0.1:{port} inside");
        return refuse(stream, Refusal::new(ErrorCode::Denied, message)).await;
    }
    if stream.answer(&Opened::Ok).await.is_ok() {
        let (from_host, to_host) = stream.split();
        let _ = relay(&mut connected, from_host, to_host).await;
    }
}

/// Listens on a port until the host ends the stream. With a user id, only to that user.
pub async fn listen(
    acceptances: &Acceptances,
    mut stream: Stream,
    port: u16,
    tag: String,
    uid: Option<u32>,
) {
    let can_say = || acceptances.owners.as_ref()?.check().ok();
    if uid.is_some() && can_say().is_none() {
        let message = "this kernel does not say whose a connection is";
        return refuse(stream, Refusal::new(ErrorCode::Failed, message)).await;
    }
    let bound = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => listener
            .local_addr()
            .map(|address| (listener, address.port())),
        Err(error) => Err(error),
    };
    let (listener, port) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::AddrInUse => ErrorCode::PortInUse,
                io::ErrorKind::PermissionDenied => ErrorCode::Denied,
                _ => ErrorCode::Failed,
            };
            let message = format!("listening on 127.0.0.1:{port} inside: {error}");
            return refuse(stream, Refusal::new(code, message)).await;
        }
    };
    if stream.answer(&Opened::Listening { port }).await.is_err() {
        return;
    }
    tokio::select! {
        () = stream.host_gone() => {}
        () = accept(acceptances, &listener, tag.into(), uid) => {}
    }
}

/// Accepts while there is room. Connections outlive the listener: the task that carries one ends
/// by itself when either side does.
async fn accept(acceptances: &Acceptances, listener: &TcpListener, tag: Rc<str>, uid: Option<u32>) {
    let own_room = Arc::new(Semaphore::new(match uid {
        Some(_) => MEMBERS_ACCEPTED_MAX,
        None => ACCEPTED_MAX,
    }));
    loop {
        let Ok(own_permit) = own_room.clone().acquire_owned().await else {
            return;
        };
        let Ok(permit) = acceptances.room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((connection, _)) => {
                if uid.is_some() && acceptances.owner(&connection) != uid {
                    // Somebody else's port; dropping the connection refuses it.
                    continue;
                }
                let wishes = acceptances.wishes.clone();
                let permits = (own_permit, permit);
                tokio::task::spawn_local(carry(connection, wishes, tag.clone(), permits));
            }
            // Out of descriptors, or the client went away: neither ends the listener.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn carry(
    mut connection: TcpStream,
    wishes: Wishes,
    tag: Rc<str>,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
) {
    let tag = tag.to_string();
    if let Some((Opened::Ok, from_host, to_host)) = ask(wishes, &Open::Accepted { tag }).await {
        // Dropping the connection tells its client.
        let _ = relay(&mut connection, from_host, to_host).await;
    }
}

/// Carries a connection until both directions have ended, or one has broken, which is an error.
pub async fn relay(
    connection: &mut TcpStream,
    mut from_host: FromHost,
    mut to_host: ToHost,
) -> io::Result<()> {
    // Small messages must not wait for more; the only cost is on loopback.
    let _ = connection.set_nodelay(true);
    let (mut from_client, mut to_client) = connection.split();
    let (host_done, client_done) = (Cell::new(false), Cell::new(false));
    // Steps of the outward copy: odd while it waits for the host to take something.
    let steps = Cell::new(0u64);

    let outward = async {
        let mut piece = vec![0; CHUNK];
        loop {
            let len = from_client.read(&mut piece).await?;
            if len == 0 {
                break;
            }
            steps.set(steps.get() + 1);
            to_host.write_all(&piece[..len]).await?;
            steps.set(steps.get() + 1);
        }
        to_host.shutdown().await?;
        client_done.set(true);
        Ok::<(), io::Error>(())
    };
    let inward = async {
        let copied = copy(&mut from_host, &mut to_client).await;
        if copied.is_err() && client_done.get() {
            // A half-closed stream cannot be reset: let the host finish.
            discard(&mut from_host).await;
            return Ok(());
        }
        copied?;
        if from_host.dropped() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        host_done.set(true);
        Ok(())
    };
    let lost_interest = async {
        loop {
            let (done, before) = (host_done.get(), steps.get());
            sleep(LINGER).await;
            // The host has said all it has to say, and takes nothing of what it is sent.
            if done && before % 2 == 1 && steps.get() == before {
                return;
            }
        }
    };
    tokio::select! {
        carried = async { tokio::try_join!(outward, inward) } => carried.map(drop),
        () = lost_interest => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut piece = vec![0; CHUNK];
    loop {
        match from.read(&mut piece).await? {
            0 => return to.shutdown().await,
            len => to.write_all(&piece[..len]).await?,
        }
    }
}
