//! The tree's frames on their way between an asynchronous stream and the thread that keeps them.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::{FrameDecoder, FrameError, TreeFrame};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
};

/// Pieces between the two: the slower one makes the other wait.
pub const QUEUE: usize = 8;

/// Bytes of one piece.
pub const PIECE: usize = 128 * 1024;

/// What the thread that saves takes frames from.
pub struct Frames {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    decoder: FrameDecoder<TreeFrame>,
}

/// Why there is no further frame.
pub enum FramesError {
    Source(io::Error),
    Frame(FrameError),
}

impl Frames {
    pub fn new(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        let decoder = FrameDecoder::default();
        Self { pieces, decoder }
    }

    /// The next frame, when it has come.
    pub fn next(&mut self) -> Result<TreeFrame, FramesError> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(FramesError::Frame(error)),
            }
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.decoder.push(&piece),
                Some(Err(error)) => return Err(FramesError::Source(error)),
                None => return Err(FramesError::Source(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

/// Reads a source into the queue until the other side has heard enough.
pub async fn pump(mut source: impl AsyncRead + Unpin, pieces: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = tokio::select! {
            read = source.read_buf(&mut piece) => read,
            () = pieces.closed() => return,
        };
        let piece = match read {
            Ok(0) => return,
            Ok(_) => Ok(piece.freeze()),
            Err(error) => Err(error),
        };
        let last = piece.is_err();
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}
