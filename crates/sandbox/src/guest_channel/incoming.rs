//! Streams that the guest opens: connections to ports that are listened on inside.

use std::{sync::Arc, time::Duration};

use protocol::{ErrorCode, Open, Opened, Refusal};
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time::timeout};

use super::{
    link::{Link, LinkStreamWithTag, read_message},
    stream::{GuestIo, LinkStream},
};

/// Connections that wait for [`Incoming::accept`]. Further ones wait in the link, unanswered,
/// until the guest has reached its own bound and leaves them in its listener's backlog.
pub(super) const QUEUE: usize = 64;

/// How long the guest may take to say what a stream is for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Hands out the connections made inside to ports that [`super::Guest::listen`] opened.
pub struct Incoming {
    queue: mpsc::Receiver<LinkStreamWithTag>,
    link: Arc<Link>,
}

impl Incoming {
    pub(super) fn new(queue: mpsc::Receiver<LinkStreamWithTag>, link: Arc<Link>) -> Self {
        Self { queue, link }
    }

    /// The next connection with the tag of its listener; `None` when the link has ended.
    pub async fn accept(&mut self) -> Option<(String, GuestIo)> {
        let (tag, mut stream) = self.queue.recv().await?;
        stream.hold(self.link.clone());
        Some((tag, GuestIo::new(stream)))
    }
}

/// Learns what a stream is for, agrees, and queues it. Drops it when the guest talks nonsense.
pub(super) async fn shake_hands(mut stream: LinkStream, accepted: mpsc::Sender<LinkStreamWithTag>) {
    let Ok(Ok(body)) = timeout(OPEN_TIMEOUT, read_message(&mut stream)).await else {
        return;
    };
    let (answer, tag) = match protocol::decode_open(&body) {
        Ok(Open::Accepted { tag }) => (Opened::Ok, Some(tag)),
        Ok(_) => (refusal("this is for the host to ask"), None),
        Err(refusal) => (Opened::Err(refusal), None),
    };
    // Room in the queue first: the guest takes our yes to mean that somebody will serve it.
    let Ok(slot) = accepted.reserve().await else {
        return;
    };
    let Ok(answer) = protocol::encode(&answer) else {
        return;
    };
    if stream.write_all(&answer).await.is_err() {
        return;
    }
    if let Some(tag) = tag {
        slot.send((tag, stream));
    }
}

fn refusal(message: &str) -> Opened {
    Opened::Err(Refusal::new(ErrorCode::Unsupported, message))
}
