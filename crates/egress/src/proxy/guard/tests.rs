use super::*;

/// A connection that says these pieces, one at each read, and closes.
struct Pieces<'a>(Box<dyn Iterator<Item = &'a [u8]> + 'a>);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.next() {
            buf.put_slice(piece);
        }
        Poll::Ready(Ok(()))
    }
}

/// What the library gets of these pieces, and what it is told of each request: its target, or nothing
/// where it is refused.
pub(crate) fn guarded<'a>(
    mode: Mode,
    pieces: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
) -> (Vec<u8>, Vec<Option<Target>>) {
    let (read, told) = read(mode, pieces);
    (read, told.into_iter().map(Result::ok).collect())
}

fn read<'a>(
    mode: Mode,
    pieces: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
) -> (Vec<u8>, VecDeque<Result<Target, Refusal>>) {
    let guarded = Arc::new(Guarded::default());
    let mut guard = Guard::new(Pieces(pieces), Arc::new(mode), Arc::clone(&guarded));
    let mut read = Vec::new();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    loop {
        let mut piece = [0; 64];
        let mut buf = ReadBuf::new(&mut piece);
        // The bytes are all there, so whatever is pending stays so.
        match Pin::new(&mut guard).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => read.extend(buf.filled()),
            _ => break,
        }
    }
    let heads = std::mem::take(&mut *guarded.heads.lock().unwrap());
    (read, heads)
}

fn through(mode: Mode, bytes: &str) -> (String, Vec<String>) {
    let (read, heads) = read(mode, Box::new(bytes.as_bytes().chunks(PIECE)));
    let told = heads.into_iter().map(|head| match head {
        Ok(target) => target.to_string(),
        Err(refusal) => refusal.cause.to_owned(),
    });
    (String::from_utf8(read).unwrap(), told.collect())
}

fn inside() -> Mode {
    Mode::Inside {
        target: Target::new("a.example", 443).unwrap(),
        tls: true,
    }
}

#[test]
fn requests_and_bodies_pass_unchanged() {
    let bytes = "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /\
                 PUT /b HTTP/1.1\r\nHost: a.example:443\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n\
                 GET /c HTTP/1.1\r\nhost: A.example\r\n\r\n";
    let (read, told) = through(inside(), bytes);
    assert_eq!(read, bytes);
    assert_eq!(told, ["a.example:443"; 3]);
}

#[test]
fn a_later_request_is_judged_like_the_first() {
    let good = "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx";
    for (bad, cause) in [
        ("GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "host-mismatch"),
        (
            "GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
            "host-mismatch",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "request-form"),
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
            "request-form",
        ),
        (
            "GET https://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "request-form",
        ),
        (
            "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "request-form",
        ),
        (
            "CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "request-form",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "request-form",
        ),
        (
            "\r\nGET / HTTP/1.1\r\nHost: a.example\nX: y\r\n\r\n",
            "request-form",
        ),
    ] {
        let (read, told) = through(inside(), &format!("{good}{bad}GET /next HTTP/1.1\r\n\r\n"));
        assert_eq!(told, ["a.example:443", cause], "{bad}");
        assert_eq!(read, format!("{good}{}", String::from_utf8_lossy(HARMLESS)));
    }
}

#[test]
fn a_body_that_does_not_add_up_ends_the_connection() {
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (read, _) = through(inside(), &format!("{head}3\nabc\r\n0\r\n\r\nGET /"));
    assert_eq!(read, head);
}

#[test]
fn a_forward_connection_may_ask_for_several_hosts() {
    let bytes = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n\
                 GET http://b.example:81/ HTTP/1.1\r\nHost: b.example:81\r\n\r\n";
    let (read, told) = through(Mode::Forward, bytes);
    assert_eq!(
        (read.as_str(), told),
        (
            bytes,
            vec!["a.example:80".to_owned(), "b.example:81".to_owned()]
        )
    );
}
