//! One multiplexed stream, fit for use from two tasks.
//!
//! The multiplexer remembers one waker for "room to send", whoever asked last, yet reading may
//! also send (window updates). Split over two tasks, the reader could take the writer's place
//! and the writer would sleep for ever. So a [`LinkStream`] polls with a waker of its own that
//! wakes both.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::timeout,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

use super::link::{Keep, Link};

/// How long a stream that nobody reads any more is drained after its sending side was closed.
/// The multiplexer can reset an open stream but not a half-closed one, and the guest would wait
/// for room to send; the guest gives up by itself after the same time.
const LINGER: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

pub(super) struct LinkStream {
    /// `None` only after it was handed over to linger.
    io: Option<Compat<yamux::Stream>>,
    wakers: Arc<Wakers>,
    waker: Waker,
    half_closed: bool,
    read_to_end: bool,
    lingering: mpsc::Sender<Lingering>,
    keep: Option<Keep>,
}

impl LinkStream {
    pub(super) fn new(
        stream: yamux::Stream,
        lingering: mpsc::Sender<Lingering>,
        keep: Keep,
    ) -> Self {
        let wakers = Arc::new(Wakers::default());
        let waker = Waker::from(wakers.clone());
        let io = Some(stream.compat());
        let (half_closed, read_to_end) = (false, false);
        Self {
            io,
            wakers,
            waker,
            half_closed,
            read_to_end,
            lingering,
            keep: Some(keep),
        }
    }

    pub(super) fn hold(&mut self, link: Arc<Link>) {
        if let Some(keep) = &mut self.keep {
            keep.hold(link);
        }
    }

    fn io(&mut self) -> Pin<&mut Compat<yamux::Stream>> {
        Pin::new(self.io.as_mut().expect("only drop takes it"))
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wakers.reader.register(cx.waker());
        let (waker, before) = (self.waker.clone(), buf.filled().len());
        let polled = self.io().poll_read(&mut Context::from_waker(&waker), buf);
        if polled.is_ready() && buf.filled().len() == before && buf.remaining() > 0 {
            self.read_to_end = true;
        }
        polled
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wakers.writer.register(cx.waker());
        let waker = self.waker.clone();
        self.io().poll_write(&mut Context::from_waker(&waker), buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        let waker = self.waker.clone();
        self.io().poll_flush(&mut Context::from_waker(&waker))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        self.half_closed = true;
        let waker = self.waker.clone();
        self.io().poll_shutdown(&mut Context::from_waker(&waker))
    }
}

impl Drop for LinkStream {
    fn drop(&mut self) {
        if self.half_closed
            && !self.read_to_end
            && let Some(io) = self.io.take()
        {
            // The permit stays with the stream until it is drained. The link does not: a stream
            // that nobody reads must not keep it alive.
            let mut keep = self.keep.take();
            if let Some(keep) = &mut keep {
                keep.release_link();
            }
            let _ = self.lingering.try_send(Lingering { io, keep });
        }
    }
}

/// A half-closed stream that nobody reads any more.
pub(super) struct Lingering {
    io: Compat<yamux::Stream>,
    keep: Option<Keep>,
}

impl Lingering {
    pub(super) async fn drain(mut self) {
        let mut sink = vec![0; 16 * 1024];
        let drain = async { while matches!(self.io.read(&mut sink).await, Ok(1..)) {} };
        let _ = timeout(LINGER, drain).await;
        drop(self.keep);
    }
}

/// Raw bytes to and from a connection inside the sandbox. `shutdown` closes this direction only;
/// dropping it closes both.
pub struct GuestIo(LinkStream);

impl GuestIo {
    pub(super) fn new(stream: LinkStream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for GuestIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for GuestIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
