//! Where a body in chunks ends (RFC 9112, section 7.1), read strictly: lines end in CRLF, sizes are
//! plain hexadecimal digits.

/// Bytes of one line, and of all trailers together.
const LONGEST_LINE: usize = 4 * 1024;
const LONGEST_TRAILERS: usize = 64 * 1024;

/// How far a body in chunks was read.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// The line that is being read, without its end.
    line: Vec<u8>,
    trailers: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(u64),
    /// The end of the line after a chunk.
    DataEnd,
    Trailer,
    Over,
}

/// The body is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Chunks {
    /// Whether the body's last byte was read.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Reads on; says how many of the bytes are of this body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if let State::Data(left) = &mut self.state {
                let rest = bytes.len() - at;
                let taken = rest.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                at += taken;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            self.byte(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        if byte != b'\n' {
            if self.line.last() == Some(&b'\r') || self.line.len() >= LONGEST_LINE {
                return Err(Malformed);
            }
            self.line.push(byte);
            return Ok(());
        }
        if self.line.pop() != Some(b'\r') {
            return Err(Malformed);
        }
        let line = std::mem::take(&mut self.line);
        self.state = match self.state {
            State::Size => match size(&line)? {
                0 => State::Trailer,
                size => State::Data(size),
            },
            State::DataEnd if line.is_empty() => State::Size,
            State::Trailer if line.is_empty() => State::Over,
            State::Trailer => {
                self.trailers += line.len();
                if self.trailers > LONGEST_TRAILERS {
                    return Err(Malformed);
                }
                State::Trailer
            }
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

/// The size of a chunk; what stands after a `;` is of no meaning.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if !(1..=15).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_it_comes() {
        let body = b"4;x=y\r\nWiki\r\n0A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
        for size in 1..body.len() {
            let mut chunks = Chunks::default();
            for piece in body.chunks(size) {
                assert_eq!(chunks.feed(piece), Ok(piece.len()));
            }
            assert!(chunks.is_over(), "in pieces of {size}");
        }
        let mut chunks = Chunks::default();
        assert_eq!(chunks.feed(b"0\r\n\r\nGET / HTTP/1.1\r\n"), Ok(5));
    }

    #[test]
    fn what_others_might_read_differently_is_malformed() {
        for body in [
            "4\nWiki\n0\n\n",
            "4 \r\nWiki\r\n",
            "+4\r\nWiki\r\n",
            "0x4\r\nWiki\r\n",
            "-1\r\n",
            "\r\n",
            "4\r\nWikiX\r\n",
            "4\r\r\nWiki\r\n",
            "10000000000000000\r\n",
        ] {
            assert_eq!(
                Chunks::default().feed(body.as_bytes()),
                Err(Malformed),
                "{body:?}"
            );
        }
    }
}
