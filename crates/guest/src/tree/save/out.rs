//! Frames on their way to the stream, gathered in pieces worth a system call.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::{Frame as _, HEADER_LEN, TreeFrame};
use rustix::fd::OwnedFd;
use tokio::sync::mpsc;

use crate::tree::PIECE;

/// The way out of the thread that reads files. Fails when nobody listens any more.
pub struct Out {
    pieces: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl Out {
    pub fn new(pieces: mpsc::Sender<Bytes>) -> Self {
        let buffer = BytesMut::new();
        Self { pieces, buffer }
    }

    /// Sends a frame.
    pub fn frame(&mut self, frame: &TreeFrame) -> io::Result<()> {
        frame.encode(&mut self.buffer);
        self.flush_if_full()
    }

    /// Sends the next bytes of a file, read into their place. Says how many there were.
    pub fn data(&mut self, file: &OwnedFd, at: u64, most: usize) -> io::Result<usize> {
        let start = self.buffer.len();
        let content = start + HEADER_LEN;
        self.buffer.resize(content + most, 0);
        let read = rustix::io::pread(file, &mut self.buffer[content..], at);
        let len = *read.as_ref().unwrap_or(&0);
        self.buffer
            .truncate(if len == 0 { start } else { content + len });
        read?;
        if len > 0 {
            self.buffer[start..content].copy_from_slice(&TreeFrame::data_header(len));
        }
        self.flush_if_full()?;
        Ok(len)
    }

    /// Sends what is gathered.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.pieces
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }
}
