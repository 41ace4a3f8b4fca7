//! Bodies on their way through, and bytes of a tunnel: passed on as they come, counted, and cut when
//! the session has used up what it may.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::audit::{Entry, Spent};
use crate::replace::{Pairs, Replacer};

/// Bytes that are searched at once.
const PIECE: usize = 8 * 1024;

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the sandbox.
    In,
    /// Out of it.
    Out,
}

/// A body that is counted, and in which credentials are put in or taken out.
pub(super) struct Counted {
    inner: Source,
    entry: Arc<Entry>,
    way: Way,
    whole: bool,
    swap: Option<Replacer>,
    /// Trailers that come after what was held back.
    trailers: Option<HeaderMap>,
    /// Resolves when what was asked is not allowed any more.
    revoked: Option<Revoked>,
}

/// Resolves when what was asked is not allowed any more.
pub(super) type Revoked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a body comes from.
enum Source {
    /// From a connection.
    Passing(Incoming),
    /// It was counted and read to its end before.
    Held(Full<Bytes>),
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
    /// The policy changed.
    #[error("what was asked is not allowed any more")]
    Revoked,
}

impl Counted {
    pub(super) fn new(inner: Incoming, entry: Arc<Entry>, way: Way) -> Self {
        let whole = inner.is_end_stream();
        Self {
            inner: Source::Passing(inner),
            entry,
            way,
            whole,
            swap: None,
            trailers: None,
            revoked: None,
        }
    }

    /// Ends early when this resolves.
    pub(super) fn until(mut self, revoked: Revoked) -> Self {
        self.revoked = Some(revoked);
        self
    }

    /// A body that was read to its end, and can be sent more than once.
    pub(super) fn held(bytes: Bytes, entry: Arc<Entry>) -> Self {
        Self {
            inner: Source::Held(Full::new(bytes)),
            entry,
            way: Way::Out,
            whole: true,
            swap: None,
            trailers: None,
            revoked: None,
        }
    }

    /// The same with texts replaced. Its length is not known any more.
    pub(super) fn replacing(mut self, pairs: Pairs) -> Self {
        if !pairs.is_empty() && !self.whole {
            self.swap = Some(Replacer::new(pairs));
        }
        self
    }

    /// The next piece as it came.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let inner = match &mut self.inner {
            Source::Held(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                return Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})));
            }
            Source::Passing(inner) => inner,
        };
        let Some(frame) = ready!(Pin::new(&mut *inner).poll_frame(cx)) else {
            self.whole = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        // A body of known length is not asked again after its last byte.
        self.whole = inner.is_end_stream();
        if let Some(data) = frame.data_ref() {
            match self.way {
                Way::In => self.entry.came_in(data.len()),
                Way::Out => self.entry.went_out(data.len()),
            }?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Says what was replaced.
    fn tell(&mut self) {
        let found = self.swap.as_mut().map(Replacer::found);
        for slot in found.into_iter().flatten() {
            match self.way {
                Way::Out => self.entry.carries(&slot),
                Way::In => self.entry.echoed(&slot),
            }
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
        if let Some(revoked) = &mut self.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            self.revoked = None;
            self.entry.cut("policy-changed");
            return Poll::Ready(Some(Err(Cut::Revoked)));
        }
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            let frame = ready!(self.poll_inner(cx)).transpose()?;
            let Some(swap) = &mut self.swap else {
                return Poll::Ready(frame.map(Ok));
            };
            let ready = match frame.map(Frame::into_data) {
                Some(Ok(data)) => swap.feed(&data),
                Some(Err(frame)) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    let rest = swap.finish();
                    swap.clean(&mut trailers);
                    self.trailers = Some(trailers);
                    rest
                }
                None => {
                    let rest = swap.finish();
                    self.tell();
                    self.swap = None;
                    if rest.is_empty() {
                        return Poll::Ready(None);
                    }
                    rest
                }
            };
            self.tell();
            if !ready.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // What is held back may still come.
        let quiet = self.swap.is_none() && self.trailers.is_none();
        quiet
            && match &self.inner {
                Source::Passing(inner) => inner.is_end_stream(),
                Source::Held(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            _ if self.swap.is_some() => SizeHint::default(),
            Source::Passing(inner) => inner.size_hint(),
            Source::Held(body) => body.size_hint(),
        }
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

/// The host's end of a connection that is not HTTP any more: what is read from it is searched.
pub(super) struct Searched<I> {
    inner: I,
    search: Option<Replacer>,
    /// What was searched and not read yet.
    ready: Bytes,
    entry: Arc<Entry>,
}

impl<I> Searched<I> {
    pub(super) fn new(inner: I, pairs: Pairs, entry: Arc<Entry>) -> Self {
        Self {
            inner,
            search: (!pairs.is_empty()).then(|| Replacer::new(pairs)),
            ready: Bytes::new(),
            entry,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Searched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(search) = &mut this.search else {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        };
        while this.ready.is_empty() {
            let mut piece = [0; PIECE];
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            let over = read.filled().is_empty();
            this.ready = match over {
                true => search.finish(),
                false => search.feed(read.filled()),
            };
            if let Some(slot) = search.found().first() {
                this.entry.echoed(slot);
                this.entry.cut("credential-echoed");
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if over {
                break;
            }
        }
        let count = this.ready.len().min(buf.remaining());
        buf.put_slice(&this.ready.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Searched<I> {
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
