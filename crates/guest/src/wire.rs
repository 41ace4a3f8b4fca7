//! Messages and frames on one stream of the link.
//!
//! Both halves of a [`Stream`] must stay in one task: the multiplexer wakes only the task that
//! asked last.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use protocol::{Frame, FrameDecoder, MessageDecoder, Opened};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

/// How long a stream is still read after this side has said all, and how long it may take none
/// of what it is sent after the host has. The multiplexer cannot reset a half-closed stream, so
/// without a bound a host that lost interest would hold it for ever.
pub const LINGER: Duration = Duration::from_secs(60);

/// Bytes read from the link at a time.
const READ_CHUNK: usize = 64 * 1024;

/// One stream of the link.
pub struct Stream(Compat<yamux::Stream>);

impl Stream {
    pub fn new(stream: yamux::Stream) -> Self {
        Self(stream.compat())
    }

    /// The two directions.
    pub fn split(self) -> (FromHost, ToHost) {
        let stream = Rc::new(RefCell::new(self.0));
        (FromHost(stream.clone()), ToHost(stream))
    }

    /// Reads one message and not a byte more; `None` when the stream or the message is no good.
    pub async fn message(&mut self) -> Option<bytes::Bytes> {
        read_message(&mut self.0).await
    }

    /// Answers an `Open`.
    pub async fn answer(&mut self, opened: &Opened) -> io::Result<()> {
        let message = protocol::encode(opened).map_err(io::Error::other)?;
        self.0.write_all(&message).await
    }

    /// Sends bytes that are encoded already.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Appends what arrives, and says how many bytes it was; 0 at the end.
    pub async fn receive(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        self.0.read_buf(into).await
    }

    /// Receives the next frame; `None` when the stream ended or brought nonsense.
    pub async fn frame<F: Frame>(&mut self, decoder: &mut FrameDecoder<F>) -> Option<F> {
        read_frame(&mut self.0, decoder).await
    }

    /// Resolves when the host has closed its direction or broken the stream.
    pub async fn host_gone(&mut self) {
        discard(&mut self.0).await;
    }

    /// Says that nothing follows and waits, within bounds, until the host says so too.
    pub async fn finish(mut self) {
        if self.0.shutdown().await.is_ok() {
            let _ = timeout(LINGER, discard(&mut self.0)).await;
        }
    }
}

/// The direction from the host.
pub struct FromHost(Rc<RefCell<Compat<yamux::Stream>>>);

/// The direction to the host.
pub struct ToHost(Rc<RefCell<Compat<yamux::Stream>>>);

impl FromHost {
    /// Whether the host has dropped the stream, and not only closed its direction: both look
    /// like an end to a reader.
    pub fn dropped(&self) -> bool {
        self.0.borrow().get_ref().is_closed()
    }
}

impl AsyncRead for FromHost {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for ToHost {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

/// Reads one message and not a byte more.
pub async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> Option<bytes::Bytes> {
    let mut decoder = MessageDecoder::default();
    let mut piece = [0; 4096];
    loop {
        if let Some(body) = decoder.next_body().ok()? {
            return Some(body);
        }
        let wanted = decoder.wanted().min(piece.len());
        match from.read(&mut piece[..wanted]).await {
            Ok(0) | Err(_) => return None,
            Ok(len) => decoder.push(&piece[..len]),
        }
    }
}

/// Receives the next frame; `None` when the stream ended or brought nonsense.
pub async fn read_frame<F: Frame>(
    from: &mut (impl AsyncRead + Unpin),
    decoder: &mut FrameDecoder<F>,
) -> Option<F> {
    loop {
        if let Some(frame) = decoder.next_frame().ok()? {
            return Some(frame);
        }
        decoder.buffer().reserve(READ_CHUNK);
        if !matches!(from.read_buf(decoder.buffer()).await, Ok(1..)) {
            return None;
        }
    }
}

/// Reads until the end and keeps nothing.
pub async fn discard(from: &mut (impl AsyncRead + Unpin)) {
    let mut sink = BytesMut::new();
    loop {
        sink.clear();
        sink.reserve(4096);
        if !matches!(from.read_buf(&mut sink).await, Ok(1..)) {
            return;
        }
    }
}
