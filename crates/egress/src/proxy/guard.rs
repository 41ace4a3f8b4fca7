//! Reads the heads of an HTTP/1 connection before the HTTP library does, and refuses what two readers
//! could understand differently, for every request of the connection.
//!
//! ```text
//!   head ──▶ body of a length, or in chunks ──▶ head …
//!     │                                  └──▶ through (upgraded)
//!     └──▶ refused: the library sees a harmless request in its place, and then the end
//! ```
//!
//! It changes no byte of what it lets through. It holds one head at most, and nothing of a body longer
//! than it takes to read it.

mod chunks;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::chunks::Chunks;
use super::requests::Mode;
use super::target;
use crate::answer::Refusal;
use crate::head::{self, Framing, bad};
use crate::policy::Target;

/// What the library is given in place of a request that is refused.
const HARMLESS: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// What the guard knows of the requests that the library has not asked about yet, and the other way
/// round. The library asks once for each head, in their order.
#[derive(Default)]
pub(super) struct Guarded {
    heads: Mutex<VecDeque<Result<Target, Refusal>>>,
    /// The connection is not HTTP any more.
    through: AtomicBool,
}

/// A connection with its guard.
pub(super) struct Guard<I> {
    inner: I,
    mode: Arc<Mode>,
    guarded: Arc<Guarded>,
    /// What was read and not handed on; the first `cleared` bytes may be.
    held: BytesMut,
    cleared: usize,
    /// Bytes of a head that were looked at without finding its end.
    seen: usize,
    state: State,
}

enum State {
    Head,
    Length(u64),
    Chunked(Chunks),
    Through,
    /// The library has a harmless request and shall answer it; nothing more comes.
    Refused,
    /// A body does not add up. The library is in the middle of it.
    Broken,
    /// The client has closed.
    Over,
}

impl Guarded {
    /// The next request's target, or why it is refused.
    pub(super) fn next(&self) -> Result<Target, Refusal> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || Err(bad("its head was not read"));
        heads.pop_front().unwrap_or_else(unknown)
    }

    /// What follows is not HTTP.
    pub(super) fn upgraded(&self) {
        self.through.store(true, Ordering::Release);
    }

    fn read(&self, head: Result<Target, Refusal>) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.push_back(head);
    }
}

impl<I> Guard<I> {
    pub(super) fn new(inner: I, mode: Arc<Mode>, guarded: Arc<Guarded>) -> Self {
        Self {
            inner,
            mode,
            guarded,
            held: BytesMut::new(),
            cleared: 0,
            seen: 0,
            state: State::Head,
        }
    }

    /// Clears as much of what is held as can be judged.
    fn clear(&mut self) {
        while self.cleared < self.held.len() {
            let rest = &self.held[self.cleared..];
            match &mut self.state {
                State::Head if self.guarded.through.load(Ordering::Acquire) => {
                    self.state = State::Through;
                }
                State::Head => match self.head() {
                    Some(Ok(())) => {}
                    Some(Err(refusal)) => return self.refuse(refusal),
                    None => return,
                },
                State::Length(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    self.cleared += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Chunked(chunks) => match chunks.feed(rest) {
                    Ok(taken) => {
                        self.cleared += taken;
                        if chunks.is_over() {
                            self.state = State::Head;
                        }
                    }
                    Err(_) => {
                        self.held.truncate(self.cleared);
                        self.state = State::Broken;
                    }
                },
                State::Through => self.cleared = self.held.len(),
                State::Refused | State::Broken | State::Over => self.held.truncate(self.cleared),
            }
        }
    }

    /// Judges one head; `None` when it is not whole.
    fn head(&mut self) -> Option<Result<(), Refusal>> {
        let rest = &self.held[self.cleared..];
        let head = match head::take(rest, self.seen) {
            Ok(Some(head)) => head,
            Ok(None) => {
                self.seen = rest.len();
                return None;
            }
            Err(refusal) => return Some(Err(refusal)),
        };
        let target = match target::of_head(&head, &self.mode) {
            Ok(target) => target,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.guarded.read(Ok(target));
        self.cleared += head.length;
        self.seen = 0;
        match head.framing {
            Framing::None | Framing::Length(0) => {}
            Framing::Length(length) => self.state = State::Length(length),
            Framing::Chunked => self.state = State::Chunked(Chunks::default()),
        }
        Some(Ok(()))
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.guarded.read(Err(refusal));
        self.held.truncate(self.cleared);
        self.held.extend_from_slice(HARMLESS);
        self.cleared = self.held.len();
        self.state = State::Refused;
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(buf.remaining());
                buf.put_slice(&this.held[..count]);
                this.held.advance(count);
                this.cleared -= count;
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                // The answer ends the connection; an end before it would look like a client that left.
                State::Refused => return Poll::Pending,
                State::Head | State::Length(_) | State::Chunked(_) | State::Through => {}
            }
            let mut piece = [0; PIECE];
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // Part of a head is of no use to anybody.
                this.state = State::Over;
                continue;
            }
            this.held.extend_from_slice(read.filled());
            this.clear();
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(crate) use tests::guarded;

#[cfg(test)]
mod tests;
