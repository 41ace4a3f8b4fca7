//! The live end of a session's log: a bounded window on what was committed last, and a bell.
//!
//! The actor publishes here after a commit, never before. Readers take what they have not seen from
//! the window; a reader that fell behind the window reads the log itself and joins again. So a slow
//! reader costs no memory, a returning one misses nothing, and nobody sees an event twice.
//! Text previews live only in the window: a reader that was too slow for them never gets them.
//!
//! This is no channel of events: the log is the truth, and the window may be emptied at any time.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use api::event::Preview;
use bytes::{Bytes, BytesMut};
use store::Store;
use tokio::sync::watch;

/// Items in the window. A reader more than this behind reads the log instead.
const WINDOW_ITEMS: usize = 1024;
/// Bytes in the window; the oldest items leave first. The newest item always stays, however large.
const WINDOW_BYTES: usize = 2 * 1024 * 1024;
/// Events that a reader takes from the log in one go.
const PAGE: usize = 256;

/// What a reader gets: one event or one preview, rendered once for all readers.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event's number in the log; `None` for a preview and for `session.deleted`.
    pub seq: Option<i64>,
    /// The contract's event type.
    pub kind: Arc<str>,
    /// The event's JSON, byte for byte as the log has it.
    pub json: Bytes,
    /// The same as one complete SSE frame.
    pub sse: Bytes,
}

impl Delivery {
    /// Renders an event; the JSON is a slice of the frame, so both cost one buffer.
    #[must_use]
    pub fn new(seq: Option<i64>, kind: &str, json: &str) -> Delivery {
        let mut frame = BytesMut::with_capacity(kind.len() + json.len() + 48);
        frame.extend_from_slice(b"event: ");
        frame.extend_from_slice(kind.as_bytes());
        if let Some(seq) = seq {
            frame.extend_from_slice(b"\nid: ");
            frame.extend_from_slice(seq.to_string().as_bytes());
        }
        frame.extend_from_slice(b"\ndata: ");
        let start = frame.len();
        frame.extend_from_slice(json.as_bytes());
        let end = frame.len();
        frame.extend_from_slice(b"\n\n");
        let sse = frame.freeze();
        Delivery {
            seq,
            kind: kind.into(),
            json: sse.slice(start..end),
            sse,
        }
    }
}

/// One thing in the window.
#[derive(Debug, Clone)]
enum Item {
    Event(Delivery),
    Preview {
        of: Arc<str>,
        first: bool,
        thinking: bool,
        delivery: Delivery,
    },
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Item::Event(delivery) | Item::Preview { delivery, .. } => delivery.sse.len(),
        }
    }
}

#[derive(Debug, Default)]
struct Window {
    items: VecDeque<Item>,
    bytes: usize,
    /// Position of the first item; positions only grow.
    first: u64,
}

impl Window {
    fn push(&mut self, item: Item) {
        self.bytes += item.len();
        self.items.push_back(item);
        while self.items.len() > WINDOW_ITEMS || (self.bytes > WINDOW_BYTES && self.items.len() > 1)
        {
            let Some(gone) = self.items.pop_front() else {
                break;
            };
            self.bytes -= gone.len();
            self.first += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }
}

/// The bell: how far the window reaches, and whether the stream is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bell {
    end: u64,
    closed: bool,
}

/// A session's live end. One per session that somebody reads or that is being worked on.
#[derive(Debug)]
pub struct Feed {
    window: Mutex<Window>,
    bell: watch::Sender<Bell>,
}

/// Which previews a reader wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deltas {
    /// Text of `agent.message` as it grows.
    pub message: bool,
    /// The start of `agent.thinking`.
    pub thinking: bool,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed {
            window: Mutex::default(),
            bell: watch::Sender::new(Bell::default()),
        }
    }
}

impl Feed {
    /// Shows events that have just been committed, in the order of their numbers.
    pub fn publish(&self, events: impl IntoIterator<Item = Delivery>) {
        self.push(events.into_iter().map(Item::Event));
    }

    /// Shows a preview to those who want it.
    pub fn preview(&self, preview: &Preview) {
        let (of, first, thinking) = match preview {
            Preview::EventStart { event } => {
                (event.id.as_str(), true, event.kind == "agent.thinking")
            }
            Preview::EventDelta { event_id, .. } => (event_id.as_str(), false, false),
        };
        let json = serde_json::to_string(preview).expect("a preview holds only string keys");
        let delivery = Delivery::new(None, preview.kind(), &json);
        self.push([Item::Preview {
            of: of.into(),
            first,
            thinking,
            delivery,
        }]);
    }

    /// Ends every stream after what was published so far.
    pub fn close(&self) {
        self.bell.send_modify(|bell| bell.closed = true);
    }

    fn push(&self, items: impl IntoIterator<Item = Item>) {
        let end = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            for item in items {
                window.push(item);
            }
            window.end()
        };
        self.bell.send_modify(|bell| bell.end = end);
    }

    /// A feed that is over, for a session that is.
    #[must_use]
    pub fn closed() -> Feed {
        let feed = Feed::default();
        feed.close();
        feed
    }

    /// Whether its streams are over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.bell.borrow().closed
    }

    /// Attaches a reader. `after` is the number of the last event it has; `None` means that it wants
    /// only what comes from now on (see [`Subscription::skip_to`]).
    pub fn subscribe(
        self: &Arc<Self>,
        store: Arc<Store>,
        session: &str,
        after: Option<i64>,
        deltas: Deltas,
    ) -> Subscription {
        let bell = self.bell.subscribe();
        let position = self
            .window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end();
        Subscription {
            feed: self.clone(),
            store,
            session: session.to_owned(),
            bell,
            seq: after.unwrap_or(0),
            position: after.is_none().then_some(position),
            ready: VecDeque::new(),
            previewed: HashSet::new(),
            deltas,
        }
    }
}

/// A reader's place in a session's log.
pub struct Subscription {
    feed: Arc<Feed>,
    store: Arc<Store>,
    session: String,
    bell: watch::Receiver<Bell>,
    /// The last event that this reader has.
    seq: i64,
    /// Where to go on in the window; `None` while the log itself has to be read.
    position: Option<u64>,
    /// Taken but not handed out yet; at most one page.
    ready: VecDeque<Delivery>,
    /// Previews whose start this reader saw: only their deltas make sense to it.
    previewed: HashSet<Arc<str>>,
    deltas: Deltas,
}

impl Subscription {
    /// Passes over everything up to event `seq`.
    pub fn skip_to(&mut self, seq: i64) {
        self.seq = seq;
    }

    /// The next event or preview; `None` when the stream is over.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Delivery>, store::StoreError> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return Ok(Some(delivery));
            }
            let bell = *self.bell.borrow_and_update();
            match self.position {
                None => self.read_log().await?,
                Some(position) if position < bell.end => self.read_window(position),
                Some(_) if bell.closed => return Ok(None),
                // The sender lives in the feed that this reader holds, so the wait cannot fail.
                Some(_) => drop(self.bell.changed().await),
            }
        }
    }

    /// Everything that can be had without waiting, for one write to the socket; may be empty.
    pub fn take_ready(&mut self) -> impl Iterator<Item = Delivery> + '_ {
        if self.ready.is_empty() {
            let end = self.bell.borrow_and_update().end;
            if let Some(position) = self.position.filter(|position| *position < end) {
                self.read_window(position);
            }
        }
        self.ready.drain(..)
    }

    async fn read_log(&mut self) -> Result<(), store::StoreError> {
        // The window's end is taken before the log is read: what is committed in between is in the
        // window too, and is told apart by its number.
        let end = self
            .feed
            .window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end();
        let page = self
            .store
            .events()
            .tail(&self.session, self.seq, PAGE)
            .await?;
        let complete = page.len() < PAGE;
        for row in page {
            self.seq = row.seq;
            self.ready
                .push_back(Delivery::new(Some(row.seq), &row.kind, &row.body));
        }
        if complete {
            self.position = Some(end);
        }
        Ok(())
    }

    fn read_window(&mut self, position: u64) {
        let window = self
            .feed
            .window
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(skip) = position.checked_sub(window.first) else {
            self.position = None;
            return;
        };
        let items: Vec<Item> = window
            .items
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(PAGE)
            .cloned()
            .collect();
        drop(window);
        self.position = Some(position + items.len() as u64);
        for item in items {
            self.accept(item);
        }
    }

    fn accept(&mut self, item: Item) {
        match item {
            Item::Event(delivery) => match delivery.seq {
                Some(seq) if seq <= self.seq => {}
                seq => {
                    self.seq = seq.unwrap_or(self.seq);
                    // Previews belong to one model request; after its end none of them is waited for.
                    if &*delivery.kind == "span.model_request_end" {
                        self.previewed.clear();
                    }
                    self.ready.push_back(delivery);
                }
            },
            Item::Preview {
                of,
                first,
                thinking,
                delivery,
            } => {
                let wanted = if first {
                    (if thinking {
                        self.deltas.thinking
                    } else {
                        self.deltas.message
                    }) && self.previewed.insert(of)
                } else {
                    self.previewed.contains(&of)
                };
                if wanted {
                    self.ready.push_back(delivery);
                }
            }
        }
    }
}
