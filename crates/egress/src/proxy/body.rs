//! Bodies on their way through, and bytes of a tunnel: passed on as they come, counted, and cut when
//! the session has used up what it may.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
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
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// A limit was reached.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// Whoever sent it broke off.
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
}

impl Counted {
    pub(super) fn new(inner: Incoming, entry: Arc<Entry>, way: Way) -> Self {
        let whole = inner.is_end_stream();
        Self {
            inner,
            entry,
            way,
            whole,
        }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
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

/// The body of an answer to the sandbox.
pub(super) enum Reply {
    /// Said by egress itself.
    Ours(Full<Bytes>),
    /// Said by the host.
    Theirs(Counted),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Ours(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Theirs(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(body) => body.is_end_stream(),
            Self::Theirs(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(body) => body.size_hint(),
            Self::Theirs(body) => body.size_hint(),
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
