//! Restoring: records and chunks come out of the packs, verified, and go to the sink as frames.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use protocol::{Entry, Frame as _, FrameDecoder, TreeEnd, TreeFrame};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
};

use crate::{
    RestoreError, SnapshotId, StoreError,
    frames::{PIECE, QUEUE},
    index::Index,
    lines::{Line, Lines, blocking},
    manifest::{self, Record, Records, Root, Segment},
};

/// What was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Plain files.
    pub files: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// What the next save of the sandbox that got it asks its guest about.
    pub since_ns: i64,
    /// Attributes that could not be set there.
    pub skipped: u64,
    /// One of them, with the reason.
    pub example: Option<String>,
}

/// What is needed before the rest.
#[derive(Debug)]
pub struct Early {
    /// A directory. It, what is in it, and everything that comes before it in the order of trees.
    pub up_to: Bytes,
    /// Rings when all of it is made; dropped when the restore fails before.
    pub made: oneshot::Sender<()>,
}

/// Why the thread that reads stopped early.
enum Stopped {
    Store(StoreError),
    /// Nobody listens any more; the sink's answer says why.
    Unheard,
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub async fn restore(
    lines: &Arc<Lines>,
    name: &str,
    id: SnapshotId,
    early: Option<Early>,
    sink: impl AsyncRead + AsyncWrite + Unpin + Send,
) -> Result<Restored, RestoreError> {
    let (up_to, made) = early.map(|early| (early.up_to, early.made)).unzip();
    let line = lines.line(name)?;
    let shared = lines.lock(name).read_owned().await;
    let (pieces, queue) = mpsc::channel(QUEUE);
    let (sent_all, whole) = oneshot::channel();
    let work = blocking(move || {
        let _shared = shared;
        let root = read(&line, id, up_to, pieces)?;
        // Whoever asked may be gone.
        let _ = sent_all.send(());
        Ok::<_, Stopped>(root)
    });
    let (answer, read) = tokio::join!(carry(queue, whole, made, sink), work);
    let root = match read {
        Err(Stopped::Store(error)) => return Err(error.into()),
        Err(Stopped::Unheard) => None,
        Ok(root) => Some(root),
    };
    let end = answer.unwrap_or(Err(RestoreError::Sink(io::ErrorKind::BrokenPipe.into())))?;
    // A sink that says that it has all before it has is no sink of ours.
    let root = root.ok_or(RestoreError::Sink(io::ErrorKind::InvalidData.into()))?;
    Ok(Restored {
        files: root.files,
        bytes: root.bytes,
        since_ns: end.since_ns,
        skipped: end.skipped,
        example: end.example,
    })
}

/// Sends the pieces and waits for the answer, which may come sooner. `None` when there is none to
/// wait for, because the tree was not sent to its end.
async fn carry(
    mut queue: mpsc::Receiver<Bytes>,
    whole: oneshot::Receiver<()>,
    made: Option<oneshot::Sender<()>>,
    sink: impl AsyncRead + AsyncWrite + Unpin,
) -> Option<Result<TreeEnd, RestoreError>> {
    let (mut from, mut to) = tokio::io::split(sink);
    let send = async {
        while let Some(piece) = queue.recv().await {
            to.write_all(&piece).await?;
        }
        to.flush().await?;
        Ok::<_, io::Error>(whole.await.is_ok())
    };
    let answer = answer(&mut from, made);
    tokio::pin!(send, answer);
    tokio::select! {
        answer = &mut answer => Some(answer),
        sent = &mut send => match sent {
            Ok(false) => None,
            // Whoever stops listening may still say why.
            Ok(true) | Err(_) => Some(answer.await),
        },
    }
}

async fn answer(
    from: &mut (impl AsyncRead + Unpin),
    mut made: Option<oneshot::Sender<()>>,
) -> Result<TreeEnd, RestoreError> {
    let mut decoder = FrameDecoder::<TreeFrame>::default();
    loop {
        match decoder.next_frame()? {
            Some(TreeFrame::End(end)) => {
                ring(&mut made);
                return Ok(end);
            }
            Some(TreeFrame::Failed(refusal)) => return Err(RestoreError::Refused(refusal)),
            Some(TreeFrame::Mark) if made.is_some() => {
                ring(&mut made);
                // The end may have come with it.
                continue;
            }
            Some(_) => return Err(RestoreError::Sink(io::ErrorKind::InvalidData.into())),
            None => {}
        }
        let read = from.read_buf(decoder.buffer()).await;
        if read.map_err(RestoreError::Sink)? == 0 {
            return Err(RestoreError::Sink(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Whoever does not wait any more has other troubles.
fn ring(made: &mut Option<oneshot::Sender<()>>) {
    if let Some(made) = made.take() {
        let _ = made.send(());
    }
}

/// Reads a snapshot into the queue, with a mark behind a directory if one is named.
fn read(
    line: &Line,
    id: SnapshotId,
    mut up_to: Option<Bytes>,
    pieces: mpsc::Sender<Bytes>,
) -> Result<Root, Stopped> {
    let mut index = Index::load(line)?;
    let (root, mut records) = Records::open(&mut index, id)?;
    let mut out = Out {
        pieces,
        buffer: BytesMut::with_capacity(2 * PIECE),
    };
    while let Some(peek) = records.next(&mut index)? {
        let Record { entry, content } = manifest::record(&peek, &mut index)?;
        if up_to.take_if(|last| is_behind(&entry, last)).is_some() {
            out.frame(&TreeFrame::Mark)?;
            out.flush()?;
        }
        out.frame(&TreeFrame::Entry(entry))?;
        if !peek.is_file() {
            continue;
        }
        manifest::segments(&content, &mut index, |index, segment| {
            out.frame(&match segment {
                Segment::Hole(len) => TreeFrame::Hole(len),
                Segment::Chunk { hash, .. } => {
                    TreeFrame::Data(index.read(&hash, "a part of a file")?.into())
                }
            })
        })?;
        out.frame(&TreeFrame::FileEnd { torn: false })?;
    }
    if up_to.is_some() {
        out.frame(&TreeFrame::Mark)?;
    }
    out.frame(&TreeFrame::End(TreeEnd::default()))?;
    out.flush()?;
    Ok(root)
}

/// Whether an entry comes after a directory and everything in it.
fn is_behind(entry: &Entry, directory: &[u8]) -> bool {
    let below = entry.path.strip_prefix(directory);
    let is_in_it = below.is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'));
    let place = protocol::order((&entry.path, entry.is_dir()), (directory, true));
    place.is_gt() && !is_in_it
}

/// Frames on their way to the sink, gathered in pieces.
struct Out {
    pieces: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl Out {
    fn frame(&mut self, frame: &TreeFrame) -> Result<(), Stopped> {
        frame.encode(&mut self.buffer);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        let piece = self.buffer.split().freeze();
        self.pieces
            .blocking_send(piece)
            .map_err(|_| Stopped::Unheard)
    }
}
