//! Reads the head of a proxy request and refuses what two readers could
//! understand differently.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::answer::Refusal;

/// Bounds of a request head.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 * 1024;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// The request target as it was written.
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    /// What follows it.
    pub(crate) framing: Framing,
    /// Its length in bytes.
    pub(crate) length: usize,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// A body of so many bytes.
    Length(u64),
    /// A body in chunks.
    Chunked,
}

/// Reads until the head is whole; gives it with everything that was read. `Ok(None)` when the client
/// closed before it said anything.
pub(crate) async fn read<I: AsyncRead + Unpin>(
    io: &mut I,
) -> Result<Option<(Head, Bytes)>, Refusal> {
    let mut bytes = BytesMut::with_capacity(4096);
    loop {
        let count = io
            .read_buf(&mut bytes)
            .await
            .map_err(|_| bad("the connection broke"))?;
        if count == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(bad("the request ended early"))
            };
        }
        let seen = bytes.len() - count;
        if let Some(head) = take(&bytes, seen)? {
            return Ok(Some((head, bytes.freeze())));
        }
    }
}

/// The head that these bytes begin with; `None` when it is not whole. The first `seen` of them were looked
/// at before: whoever sends a head byte by byte does not make us read all of it for each.
pub(crate) fn take(bytes: &[u8], seen: usize) -> Result<Option<Head>, Refusal> {
    match end_of_head(bytes, seen.saturating_sub(3)) {
        Some(length) if length <= MAX_HEAD => parse(&bytes[..length]).map(Some),
        None if bytes.len() <= MAX_HEAD => Ok(None),
        _ => Err(too_large()),
    }
}

fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..]
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| from + at + 4)
}

fn parse(head: &[u8]) -> Result<Head, Refusal> {
    let bare = head
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'));
    if bare {
        return Err(bad("a line of the head does not end in CRLF"));
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Ok(httparse::Status::Partial) | Err(_) => return Err(bad("it is not an HTTP/1 request")),
    }
    let method = request.method.unwrap_or_default().to_owned();
    let target = request.path.unwrap_or_default().to_owned();
    let one = |name: &str| single(request.headers, name);
    let host = one("host")?;
    let length_header = one("content-length")?;
    let encoding = one("transfer-encoding")?;
    if length_header.is_some() && encoding.is_some() {
        return Err(bad("it has both content-length and transfer-encoding"));
    }
    if encoding
        .as_ref()
        .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("chunked"))
    {
        return Err(bad("its transfer-encoding is not chunked"));
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length = length_header.map(|length| match digits(&length) {
        true => length.parse().ok(),
        false => None,
    });
    let framing = match (encoding, length) {
        (Some(_), _) => Framing::Chunked,
        (None, None) => Framing::None,
        (None, Some(Some(length))) => Framing::Length(length),
        (None, Some(None)) => return Err(bad("its content-length is not a number")),
    };
    Ok(Head {
        method,
        target,
        host,
        framing,
        length: head.len(),
    })
}

/// The only value of a header, or a refusal when there are several.
fn single(headers: &[httparse::Header<'_>], name: &str) -> Result<Option<String>, Refusal> {
    let mut values = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(header) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad(&format!("it has more than one {name} header")));
    }
    let value = std::str::from_utf8(header.value).map_err(|_| bad("a header is not text"))?;
    Ok(Some(value.trim().to_owned()))
}

/// A request that is refused for its form.
pub(crate) fn bad(why: &str) -> Refusal {
    let message = format!("the proxy does not take this request: {why} (rule: request-form)");
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "invalid_request_error",
        "request-form",
        message,
    )
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "invalid_request_error",
        "request-head",
        "the head of the request is larger than 64 KiB or 100 headers (rule: request-head)",
    )
}

/// A stream whose first bytes were read already and are read again.
pub(crate) struct Rewound<I> {
    first: Bytes,
    inner: I,
}

impl<I> Rewound<I> {
    pub(crate) fn new(first: Bytes, inner: I) -> Self {
        Self { first, inner }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewound<I> {
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
mod tests {
    use super::*;

    async fn parse(text: &str) -> Result<Option<(Head, Bytes)>, Refusal> {
        read(&mut text.as_bytes()).await
    }

    #[tokio::test]
    async fn a_head_is_read_and_the_rest_kept() {
        let (head, bytes) = parse("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nhello")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("CONNECT", "a:443")
        );
        assert_eq!(head.host.as_deref(), Some("a:443"));
        assert_eq!(&bytes[head.length..], b"hello");
        assert_eq!(head.framing, Framing::None);
    }

    #[tokio::test]
    async fn what_can_be_read_in_two_ways_is_refused() {
        for (headers, why) in [
            ("Host: a\r\nhost: b\r\n", "more than one host"),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                "both",
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                "both",
            ),
            (
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                "more than one content-length",
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                "more than one",
            ),
            ("Transfer-Encoding: xchunked\r\n", "not chunked"),
            ("Transfer-Encoding: gzip, chunked\r\n", "not chunked"),
            ("Content-Length: +3\r\n", "not a number"),
            ("Content-Length: 99999999999999999999\r\n", "not a number"),
            ("Content-Length : 3\r\n", "not an HTTP/1"),
            ("X: a\r\n folded\r\n", "not an HTTP/1"),
            ("X: a\nY: b\r\n", "CRLF"),
        ] {
            let refusal = parse(&format!("GET http://a/ HTTP/1.1\r\n{headers}\r\n"))
                .await
                .unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{headers:?}");
            assert!(
                refusal.message.contains(why),
                "{headers:?}: {}",
                refusal.message
            );
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_bounded() {
        let endless = format!("GET http://a/ HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        let refusal = parse(&endless).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let many = "X: y\r\n".repeat(MAX_HEADERS + 1);
        let refusal = parse(&format!("GET http://a/ HTTP/1.1\r\n{many}\r\n"))
            .await
            .unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_gets_nothing() {
        assert!(parse("").await.unwrap().is_none());
    }
}
