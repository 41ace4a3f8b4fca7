//! Restoring: records and chunks come out of the packs, verified, and go to the sink as frames.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use protocol::{Frame as _, FrameDecoder, TreeEnd, TreeFrame};
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
    sink: impl AsyncRead + AsyncWrite + Unpin + Send,
) -> Result<Restored, RestoreError> {
    let line = lines.line(name)?;
    let shared = lines.lock(name).read_owned().await;
    let (pieces, queue) = mpsc::channel(QUEUE);
    let (sent_all, whole) = oneshot::channel();
    let work = blocking(move || {
        let _shared = shared;
        let root = read(&line, id, pieces)?;
        // Whoever asked may be gone.
        let _ = sent_all.send(());
        Ok::<_, Stopped>(root)
    });
    let (answer, read) = tokio::join!(carry(queue, whole, sink), work);
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
    let answer = answer(&mut from);
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

async fn answer(from: &mut (impl AsyncRead + Unpin)) -> Result<TreeEnd, RestoreError> {
    let mut decoder = FrameDecoder::<TreeFrame>::default();
    loop {
        match decoder.next_frame()? {
            Some(TreeFrame::End(end)) => return Ok(end),
            Some(TreeFrame::Failed(refusal)) => return Err(RestoreError::Refused(refusal)),
            Some(_) => return Err(RestoreError::Sink(io::ErrorKind::InvalidData.into())),
            None => {}
        }
        let read = from.read_buf(decoder.buffer()).await;
        if read.map_err(RestoreError::Sink)? == 0 {
            return Err(RestoreError::Sink(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Reads a snapshot into the queue.
fn read(line: &Line, id: SnapshotId, pieces: mpsc::Sender<Bytes>) -> Result<Root, Stopped> {
    let mut index = Index::load(line)?;
    let (root, mut records) = Records::open(&mut index, id)?;
    let mut out = Out {
        pieces,
        buffer: BytesMut::with_capacity(2 * PIECE),
    };
    while let Some(peek) = records.next(&mut index)? {
        let Record { entry, content } = manifest::record(&peek, &mut index)?;
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
    out.frame(&TreeFrame::End(TreeEnd::default()))?;
    out.flush()?;
    Ok(root)
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
