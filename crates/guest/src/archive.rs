//! Archives in and out: tar streams in frames.
//!
//! Reading and writing files blocks, so it happens on a thread of its own, joined to the stream
//! by a short queue: the slower side makes the other wait.

mod pack;
pub mod unpack;

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use bytes::{Buf as _, Bytes, BytesMut};
use protocol::{ArchiveFrame, Frame as _, FrameDecoder, Opened, Refusal, User};
use tokio::sync::mpsc;

use crate::{
    identity::as_user,
    serve::{failed, refuse},
    wire::Stream,
};

/// Pieces between the stream and the files.
const QUEUE: usize = 4;

/// Bytes of one piece when packing.
const CHUNK: usize = 64 * 1024;

/// Writes an archive below a directory, as a user if one is named.
pub async fn unpack(mut stream: Stream, dir: String, user: Option<User>) {
    if stream.answer(&Opened::Ok).await.is_err() {
        return;
    }
    let (pieces, queue) = mpsc::channel(QUEUE);
    let work = move || {
        let pieces = Pieces {
            queue,
            current: Bytes::new(),
        };
        as_user(user.as_ref(), || {
            unpack::unpack(&PathBuf::from(dir), pieces)
        })
        .unwrap_or_else(stranger)
    };
    let worker = tokio::task::spawn_blocking(work);
    let mut decoder = FrameDecoder::<ArchiveFrame>::default();
    let whole = loop {
        match stream.frame(&mut decoder).await {
            Some(ArchiveFrame::Data(bytes)) => {
                // The worker stops listening when it is done (padding may follow) or has failed.
                let done = pieces.send(Ok(bytes)).await.is_err();
                if done && worker.is_finished() {
                    break false;
                }
            }
            Some(ArchiveFrame::End) => break true,
            _ => {
                // The host gave up; whatever is half written must not pass for whole.
                let _ = pieces.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                break false;
            }
        }
    };
    drop(pieces);
    let result = worker
        .await
        .unwrap_or_else(|error| Err(failed(format!("unpacking: {error}"))));
    let answer = match result {
        Ok(()) if whole => ArchiveFrame::End,
        // Only padding was left to come, which the host is still sending.
        Ok(()) => padding(&mut stream, &mut decoder).await,
        Err(refusal) => ArchiveFrame::Failed(refusal),
    };
    conclude(stream, &answer).await;
}

/// Takes what follows the end of an archive.
async fn padding(stream: &mut Stream, decoder: &mut FrameDecoder<ArchiveFrame>) -> ArchiveFrame {
    loop {
        match stream.frame(decoder).await {
            Some(ArchiveFrame::Data(_)) => {}
            Some(ArchiveFrame::End) => return ArchiveFrame::End,
            _ => return ArchiveFrame::Failed(failed("the archive is cut off".to_owned())),
        }
    }
}

/// Reads files into an archive, as a user if one is named.
pub async fn pack(mut stream: Stream, base: String, paths: Vec<String>, user: Option<User>) {
    let base = PathBuf::from(base);
    let checked = as_user(user.as_ref(), || pack::check(&base, &paths));
    if let Err(refusal) = checked.unwrap_or_else(stranger) {
        return refuse(stream, refusal).await;
    }
    if stream.answer(&Opened::Ok).await.is_err() {
        return;
    }
    let (pieces, mut queue) = mpsc::channel(QUEUE);
    let work = move || {
        let chunks = Chunks {
            pieces,
            current: BytesMut::new(),
        };
        as_user(user.as_ref(), || pack::pack(&base, &paths, chunks)).unwrap_or_else(stranger)
    };
    let worker = tokio::task::spawn_blocking(work);
    let mut frame = BytesMut::new();
    while let Some(bytes) = queue.recv().await {
        frame.clear();
        ArchiveFrame::Data(bytes).encode(&mut frame);
        if stream.send(&frame).await.is_err() {
            // Dropping the queue ends the worker at its next piece.
            return;
        }
    }
    let last = match worker.await {
        Ok(Ok(())) => ArchiveFrame::End,
        Ok(Err(refusal)) => ArchiveFrame::Failed(refusal),
        Err(error) => ArchiveFrame::Failed(failed(format!("packing: {error}"))),
    };
    conclude(stream, &last).await;
}

async fn conclude(mut stream: Stream, last: &ArchiveFrame) {
    let mut frame = BytesMut::new();
    last.encode(&mut frame);
    if stream.send(&frame).await.is_ok() {
        stream.finish().await;
    }
}

/// What arrives, as a reader for the worker.
struct Pieces {
    queue: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.current.has_remaining() {
            match self.queue.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let len = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}

/// What is to be sent, as a writer for the worker.
struct Chunks {
    pieces: mpsc::Sender<Bytes>,
    current: BytesMut,
}

impl Write for Chunks {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = buf.len().min(CHUNK - self.current.len());
        self.current.extend_from_slice(&buf[..len]);
        if self.current.len() == CHUNK {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.current).freeze();
        self.pieces
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The thread could not take the user's identity.
fn stranger<T>(error: io::Error) -> Result<T, Refusal> {
    Err(failed(format!("acting as the user: {error}")))
}

/// A refusal for a step on a path.
fn step(what: &str, path: &std::path::Path, error: impl std::fmt::Display) -> Refusal {
    failed(format!("{what} {}: {error}", path.display()))
}
