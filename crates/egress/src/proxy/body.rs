//! Bodies on their way through, and bytes of a tunnel: passed on as they come, counted, and cut when
//! the session has used up what it may.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::audit::{Entry, Spent};

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the sandbox.
    In,
    /// Out of it.
    Out,
}

/// A body that is counted.
pub(super) struct Counted {
    inner: Incoming,
    entry: Arc<Entry>,
    way: Way,
    whole: bool,
    /// Resolves when what was asked is not allowed any more.
    revoked: Option<Revoked>,
}

/// Resolves when what was asked is not allowed any more.
pub(super) type Revoked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// A limit was reached.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// Whoever sent it broke off.
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
    /// The policy changed.
    #[error("what was asked is not allowed any more")]
    Revoked,
}

impl Counted {
    pub(super) fn new(inner: Incoming, entry: Arc<Entry>, way: Way) -> Self {
        let whole = inner.is_end_stream();
        Self {
            inner,
            entry,
            way,
            whole,
            revoked: None,
        }
    }

    /// Ends early when this resolves.
    pub(super) fn until(mut self, revoked: Revoked) -> Self {
        self.revoked = Some(revoked);
        self
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(revoked) = &mut self.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            self.revoked = None;
            self.entry.cut("policy-changed");
            return Poll::Ready(Some(Err(Cut::Revoked)));
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            self.whole = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            match self.way {
                Way::In => self.entry.came_in(data.len()),
                Way::Out => self.entry.went_out(data.len()),
            }?;
        }
        // A body of known length is not asked again after its last byte.
        self.whole = self.inner.is_end_stream();
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.whole && self.way == Way::In {
            self.entry.cut("broken-off");
        }
    }
}

/// The client's end of a tunnel: what is read from it goes out, what is written to it comes in.
pub(super) struct CountedIo<I> {
    inner: I,
    entry: Arc<Entry>,
}

impl<I> CountedIo<I> {
    pub(super) fn new(inner: I, entry: Arc<Entry>) -> Self {
        Self { inner, entry }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for CountedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        Poll::Ready(self.entry.went_out(read).map_err(io::Error::other))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for CountedIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.entry.came_in(written).map_err(io::Error::other)?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
