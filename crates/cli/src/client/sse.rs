//! Server-sent events: frames out of bytes, wherever the bytes are cut.

use reqwest::Response;

use crate::failure::Failure;

/// The largest frame that is kept. Events are bounded by the server far below this; a stream that
/// is larger is not one of ours, and ends with an error.
const LARGEST_FRAME: usize = 64 << 20;

/// One frame of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The event name.
    pub event: String,
    /// The data lines, joined.
    pub data: String,
}

/// The frames of one answer.
pub struct Stream {
    answer: Response,
    parser: Parser,
}

impl Stream {
    /// Reads the frames of this answer.
    pub fn new(answer: Response) -> Stream {
        Stream {
            answer,
            parser: Parser::default(),
        }
    }

    /// The next frame; none when the server has closed the stream. Safe to cancel: what has
    /// arrived is kept.
    pub async fn next(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some(frame) = self.parser.next() {
                return Ok(Some(frame));
            }
            if self.parser.buffer.len() > LARGEST_FRAME {
                return Err(Failure::new("the stream carries a frame larger than 64 MB"));
            }
            match self.answer.chunk().await {
                Ok(Some(bytes)) => self.parser.buffer.extend_from_slice(&bytes),
                Ok(None) => return Ok(None),
                Err(error) => return Err(Failure::caused("the stream broke", &error)),
            }
        }
    }
}

/// Bytes that have arrived, and how many of them were looked at.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    event: String,
    data: Option<String>,
    /// No end of line lies before this position, so each byte is looked at once.
    searched: usize,
}

impl Parser {
    /// The next whole frame. A frame without data (a comment, a sign of life) is passed over.
    fn next(&mut self) -> Option<Frame> {
        let mut taken = 0;
        let mut found = None;
        while let Some(length) = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = self.searched + length;
            let line = String::from_utf8_lossy(&self.buffer[taken..end]).into_owned();
            taken = end + 1;
            self.searched = taken;
            if let Some(frame) = self.line(line.trim_end_matches('\r')) {
                found = Some(frame);
                break;
            }
        }
        self.buffer.drain(..taken);
        self.searched = if found.is_some() {
            0
        } else {
            self.buffer.len()
        };
        found
    }

    fn line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return self.data.take().map(|data| Frame { event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.to_owned(),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // `id`, `retry`, comments (an empty field name) and anything newer.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": hello\n\nevent: a\ndata: {\"x\":\ndata: 1}\nid: 7\n\nevent: ping\n\nevent: b\r\ndata:é\r\n\r\n";

    fn frames(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Frame> {
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        for piece in pieces {
            parser.buffer.extend(piece);
            while let Some(frame) = parser.next() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let whole = frames([TEXT.as_bytes().to_vec()].into_iter());
        assert_eq!(
            whole,
            [
                Frame {
                    event: "a".into(),
                    data: "{\"x\":\n1}".into()
                },
                Frame {
                    event: "b".into(),
                    data: "é".into()
                },
            ]
        );
        for size in 1..TEXT.len() {
            let cut = frames(TEXT.as_bytes().chunks(size).map(<[u8]>::to_vec));
            assert_eq!(cut, whole, "pieces of {size}");
        }
    }

    #[test]
    fn an_unfinished_frame_is_not_given() {
        assert!(frames([b"event: a\ndata: 1\n".to_vec()].into_iter()).is_empty());
    }
}
