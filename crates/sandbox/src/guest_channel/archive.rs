//! Archives in and out of the sandbox.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes, BytesMut};
use protocol::{ARCHIVE_CHUNK_MAX, ArchiveFrame, Frame as _, FrameDecoder};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::{error::LinkError, stream::LinkStream};

/// Bytes sent in one frame.
const CHUNK: usize = 64 * 1024;
const _: () = assert!(CHUNK <= ARCHIVE_CHUNK_MAX);

/// Sends an archive and waits until the guest has written it.
pub(super) async fn send(
    mut stream: LinkStream,
    mut tar: impl AsyncRead + Send + Unpin,
) -> Result<(), LinkError> {
    let mut piece = vec![0; CHUNK];
    let mut frame = BytesMut::with_capacity(CHUNK + protocol::HEADER_LEN);
    loop {
        // Dropping the stream in an error tells the guest that the archive is not whole.
        let len = tar.read(&mut piece).await.map_err(LinkError::Source)?;
        let next = match len {
            0 => ArchiveFrame::End,
            len => ArchiveFrame::Data(Bytes::copy_from_slice(&piece[..len])),
        };
        next.encode(&mut frame);
        // The guest gives up in the middle when an entry is refused; its answer says why.
        if stream.write_all(&frame).await.is_err() || len == 0 {
            break;
        }
        frame.clear();
    }
    answer(&mut stream).await
}

async fn answer(stream: &mut LinkStream) -> Result<(), LinkError> {
    let mut decoder = FrameDecoder::<ArchiveFrame>::default();
    loop {
        match decoder.next_frame()? {
            Some(ArchiveFrame::End) => return Ok(()),
            Some(ArchiveFrame::Failed(refusal)) => return Err(LinkError::Refused(refusal)),
            Some(ArchiveFrame::Data(_)) => return Err(LinkError::UnexpectedAnswer),
            None => {}
        }
        match stream.read_buf(decoder.buffer()).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(LinkError::Ended),
        }
    }
}

/// A tar archive that the guest is packing. Its end means that it is whole; otherwise reading
/// fails with the guest's reason.
pub struct Packed {
    stream: LinkStream,
    decoder: FrameDecoder<ArchiveFrame>,
    current: Bytes,
    ended: bool,
}

impl Packed {
    pub(super) fn new(stream: LinkStream) -> Self {
        Self {
            stream,
            decoder: FrameDecoder::default(),
            current: Bytes::new(),
            ended: false,
        }
    }
}

impl AsyncRead for Packed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.current.has_remaining() {
                let len = this.current.len().min(buf.remaining());
                buf.put_slice(&this.current.split_to(len));
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            match this.decoder.next_frame().map_err(io::Error::other)? {
                Some(ArchiveFrame::Data(bytes)) => this.current = bytes,
                Some(ArchiveFrame::End) => this.ended = true,
                Some(ArchiveFrame::Failed(refusal)) => {
                    return Poll::Ready(Err(io::Error::other(refusal)));
                }
                None => {
                    let buffer = this.decoder.buffer();
                    buffer.reserve(CHUNK);
                    match poll_read_buf(Pin::new(&mut this.stream), cx, buffer) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(1..)) => {}
                        Poll::Ready(Ok(0) | Err(_)) => {
                            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                        }
                    }
                }
            }
        }
    }
}
