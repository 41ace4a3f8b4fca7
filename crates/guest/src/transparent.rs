//! The transparent way: for programs that know no proxy.
//!
//! ```text
//!   "a.example?" ──▶ 127.64.0.1:53 ──Open::Name──▶ host: may it be reached, and on which ports?
//!                ◀── 127.90.3.7 ◀── one address for each name; we listen there on these ports
//!   connect 127.90.3.7:443 ──Open::Reach──▶ host: a.example:443, and then bytes
//! ```
//!
//! Nothing is decided here, and no question is ever passed on to a name server: the host decides
//! when a name is asked for, and again when it is connected to. What is asked and is not a name's
//! address (TXT, MX, …) has an empty answer.

mod door;
mod names;
mod question;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use protocol::{ErrorCode, Open, Opened, Refusal};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    owner::Protocol,
    port,
    serve::{Guest, refuse},
    wire::Stream,
};
use door::Doors;
use question::{Question, Reply};

/// Where names are answered; the sandbox's `/etc/resolv.conf` says so.
const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 64, 0, 1), 53);

/// Questions that the host is asked at a time; further ones are told to come again later.
const QUESTIONS_MAX: usize = 64;

/// Connections that ask by TCP at a time; further ones wait in the backlog.
const ASKERS_MAX: usize = 16;

/// How long such a connection may be silent.
const ASKER_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a question: more than any name takes.
const QUESTION_LEN: usize = 1232;

/// What is shared by all who ask.
struct Way {
    guest: Rc<Guest>,
    doors: Doors,
    questions: Arc<Semaphore>,
}

/// Answers names and takes connections until the host ends the stream.
pub async fn serve(guest: Rc<Guest>, mut stream: Stream) {
    let bound = async {
        Ok((
            UdpSocket::bind(RESOLVER).await?,
            TcpListener::bind(RESOLVER).await?,
        ))
    };
    let (udp, tcp) = match bound.await {
        Ok(bound) => bound,
        Err(error) => return refuse(stream, refusal(&error)).await,
    };
    if stream.answer(&Opened::Ok).await.is_err() {
        return;
    }
    let way = Rc::new(Way {
        doors: Doors::new(guest.clone()),
        guest,
        questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
    });
    tokio::select! {
        () = stream.host_gone() => {}
        () = by_udp(&way, Rc::new(udp)) => {}
        () = by_tcp(&way, tcp) => {}
        () = crate::strays::tell(&way.guest) => {}
    }
}

fn refusal(error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorCode::PortInUse,
        io::ErrorKind::PermissionDenied => ErrorCode::Denied,
        _ => ErrorCode::Failed,
    };
    let (address, port) = RESOLVER;
    let message = format!("listening on {address}:{port} inside: {error}");
    Refusal::new(code, message)
}

async fn by_udp(way: &Rc<Way>, socket: Rc<UdpSocket>) {
    // No more of them than there are permits for questions.
    let mut asking = JoinSet::new();
    let mut bytes = [0; QUESTION_LEN];
    loop {
        while asking.try_join_next().is_some() {}
        let (len, from) = match socket.recv_from(&mut bytes).await {
            Ok(received) => received,
            // An earlier answer found nobody.
            Err(_) => {
                sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let Some(question) = question::read(&bytes[..len]) else {
            continue;
        };
        let (way, socket) = (way.clone(), socket.clone());
        let Ok(permit) = way.questions.clone().try_acquire_owned() else {
            let _ = socket.try_send_to(&question.answer(Reply::Later), from);
            continue;
        };
        asking.spawn_local(async move {
            let _permit = permit;
            let own = SocketAddr::from(RESOLVER);
            let owners = way.guest.acceptances.owners.as_ref();
            let uid = owners.and_then(|owners| owners.of(Protocol::Udp, from, own));
            let reply = way.reply(&question, uid).await;
            // Whoever asked may be gone.
            let _ = socket.send_to(&question.answer(reply), from).await;
        });
    }
}

async fn by_tcp(way: &Rc<Way>, listener: TcpListener) {
    let mut asking = JoinSet::new();
    loop {
        if asking.len() >= ASKERS_MAX {
            asking.join_next().await;
        }
        match listener.accept().await {
            Ok((connection, _)) => drop(asking.spawn_local(by_connection(way.clone(), connection))),
            // Out of descriptors, or the client went away.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn by_connection(way: Rc<Way>, mut connection: TcpStream) {
    let uid = way.guest.acceptances.owner(&connection);
    let one = async |connection: &mut TcpStream| -> io::Result<()> {
        let len = connection.read_u16().await?;
        let mut bytes = vec![0; usize::from(len)];
        connection.read_exact(&mut bytes).await?;
        let question = question::read(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let answer = question.answer(way.reply(&question, uid).await);
        let len = u16::try_from(answer.len()).map_err(io::Error::other)?;
        connection
            .write_all(&[&len.to_be_bytes()[..], &answer].concat())
            .await
    };
    while let Ok(Ok(())) = timeout(ASKER_PATIENCE, one(&mut connection)).await {}
}

impl Way {
    /// What a question is answered with.
    async fn reply(&self, question: &Question, uid: Option<u32>) -> Reply {
        let name = match question.at_once() {
            Ok(reply) => return reply,
            Err(name) => name,
        };
        let open = Open::Name {
            name: name.to_owned(),
            kind: question.kind,
            uid,
        };
        let answered = port::ask(self.guest.acceptances.wishes(), &open).await;
        match answered.map(|(opened, ..)| opened) {
            Some(Opened::Name { ports }) if question.asks_address() => {
                match self.doors.open(name, &ports) {
                    Some(address) => Reply::Address(address),
                    None => Reply::Later,
                }
            }
            Some(Opened::Name { .. }) => Reply::Nothing,
            Some(Opened::Err(refusal)) if refusal.code == ErrorCode::Denied => {
                match question.asks_address() {
                    true => Reply::NoSuchName,
                    false => Reply::Nothing,
                }
            }
            _ => Reply::Later,
        }
    }
}
