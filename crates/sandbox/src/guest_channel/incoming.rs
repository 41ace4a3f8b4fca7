//! Streams that the guest opens: connections to ports that are listened on inside, and what comes by
//! the transparent way.

use std::{sync::Arc, time::Duration};

use protocol::{ErrorCode, Open, Opened, Refusal, STRAYS_MAX, Stray};
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time::timeout};

use super::{
    link::{Link, read_message},
    stream::{GuestIo, LinkStream},
};

/// What waits for [`Incoming::next`]. Further streams wait in the link, unanswered, until the guest
/// has reached its own bound: connections then stay in its listeners' backlogs.
pub(super) const QUEUE: usize = 64;

/// How long the guest may take to say what a stream is for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest name in bytes that is taken for one.
const NAME_MAX: usize = 253;

/// Hands out what the guest opens.
pub struct Incoming {
    queue: mpsc::Receiver<Waiting>,
    link: Arc<Link>,
}

/// What the guest opened.
pub enum Arrival {
    /// A connection to a port that [`super::Guest::listen`] opened.
    Accepted {
        /// The tag of its listener.
        tag: String,
        /// The connection.
        io: GuestIo,
    },
    /// Somebody asks for a name.
    Name {
        /// The name as it was asked for.
        name: String,
        /// The type of record, by its number: 1 for addresses.
        kind: u16,
        /// Who asks, in a sandbox of several members, where the guest knows.
        uid: Option<u32>,
        /// How to answer.
        asker: Asker,
    },
    /// Somebody connected to what a name stands for.
    Reach {
        /// The name.
        name: String,
        /// The port.
        port: u16,
        /// Who, in a sandbox of several members, where the guest knows.
        uid: Option<u32>,
        /// The connection.
        io: GuestIo,
    },
    /// Programs sent what went nowhere.
    Strays {
        /// What, each kind once.
        strays: Vec<Stray>,
        /// Packets beyond these.
        more: u64,
    },
}

/// Who waits to be told about a name. Dropping it tells nothing: the guest answers that it is to be
/// asked for again later.
pub struct Asker(LinkStream);

impl Asker {
    /// It may be reached on these ports.
    pub async fn reached_on(self, ports: Vec<u16>) {
        self.answer(Opened::Name { ports }).await;
    }

    /// It may not be reached.
    pub async fn refused(self) {
        let refusal = Refusal::new(ErrorCode::Denied, "this name may not be reached");
        self.answer(Opened::Err(refusal)).await;
    }

    async fn answer(mut self, opened: Opened) {
        if let Ok(answer) = protocol::encode(&opened) {
            // A guest that is gone asks for nothing.
            let _ = self.0.write_all(&answer).await;
            let _ = self.0.shutdown().await;
        }
    }
}

/// A stream in the queue, with what it was opened for.
pub(super) struct Waiting {
    open: Open,
    stream: LinkStream,
}

impl Incoming {
    pub(super) fn new(queue: mpsc::Receiver<Waiting>, link: Arc<Link>) -> Self {
        Self { queue, link }
    }

    /// What the guest opened next; `None` when the link has ended.
    pub async fn next(&mut self) -> Option<Arrival> {
        loop {
            let Waiting { open, mut stream } = self.queue.recv().await?;
            stream.hold(self.link.clone());
            return Some(match open {
                Open::Accepted { tag } => Arrival::Accepted {
                    tag,
                    io: GuestIo::new(stream),
                },
                Open::Name { name, kind, uid } => Arrival::Name {
                    name,
                    kind,
                    uid,
                    asker: Asker(stream),
                },
                Open::Reach { name, port, uid } => Arrival::Reach {
                    name,
                    port,
                    uid,
                    io: GuestIo::new(stream),
                },
                Open::Strays { strays, more } => Arrival::Strays { strays, more },
                // These are refused before they are queued.
                _ => continue,
            });
        }
    }

    /// The next connection to a port that is listened on, with the tag of its listener; `None` when
    /// the link has ended. Drops what comes by the transparent way.
    pub async fn accept(&mut self) -> Option<(String, GuestIo)> {
        loop {
            if let Arrival::Accepted { tag, io } = self.next().await? {
                return Some((tag, io));
            }
        }
    }
}

/// Learns what a stream is for, agrees, and queues it. Drops it when the guest talks nonsense.
pub(super) async fn shake_hands(mut stream: LinkStream, accepted: mpsc::Sender<Waiting>) {
    let Ok(Ok(body)) = timeout(OPEN_TIMEOUT, read_message(&mut stream)).await else {
        return;
    };
    let open = protocol::decode_open(&body).and_then(check);
    // Room in the queue first: the guest takes our yes to mean that somebody will serve it.
    let Ok(slot) = accepted.reserve().await else {
        return;
    };
    let answer = match &open {
        // Whoever takes it from the queue knows the answer.
        Ok(Open::Name { .. }) => None,
        Ok(_) => Some(Opened::Ok),
        Err(refusal) => Some(Opened::Err(refusal.clone())),
    };
    if let Some(answer) = answer {
        let Ok(answer) = protocol::encode(&answer) else {
            return;
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
    if let Ok(open) = open {
        slot.send(Waiting { open, stream });
    }
}

/// What a guest may open, within the bounds that it was told.
fn check(open: Open) -> Result<Open, Refusal> {
    let refuse = |code, message: &str| Err(Refusal::new(code, message));
    match &open {
        Open::Accepted { .. } => Ok(open),
        Open::Name { name, .. } | Open::Reach { name, .. } if name.len() > NAME_MAX => {
            refuse(ErrorCode::BadRequest, "this is too long for a name")
        }
        Open::Strays { strays, .. } if strays.len() > STRAYS_MAX => {
            refuse(ErrorCode::TooMany, "these are too many at a time")
        }
        Open::Name { .. } | Open::Reach { .. } | Open::Strays { .. } => Ok(open),
        _ => refuse(ErrorCode::Unsupported, "this is for the host to ask"),
    }
}
