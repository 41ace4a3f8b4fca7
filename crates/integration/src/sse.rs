//! Server-sent events as the server writes them: strict, because the framing is part of the
//! contract. A line that is none of `event`, `id`, `data` or blank is a failure, not passed over.

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The event's type.
    pub event: String,
    /// The event's number, when it is one that is kept.
    pub id: Option<i64>,
    /// The JSON, as it came.
    pub data: String,
}

/// Takes bytes as they come and hands out whole frames.
#[derive(Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// Up to here no frame ends.
    looked: usize,
}

impl Parser {
    /// The frames that `chunk` completes.
    ///
    /// # Panics
    /// When a frame is not framed as the contract says.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Frame> {
        self.bytes.extend_from_slice(chunk);
        let mut frames = Vec::new();
        while let Some(at) = self.bytes[self.looked..]
            .windows(2)
            .position(|two| two == b"\n\n")
        {
            let end = self.looked + at;
            let rest = self.bytes.split_off(end + 2);
            let text = std::mem::replace(&mut self.bytes, rest);
            self.looked = 0;
            frames.push(frame(std::str::from_utf8(&text[..end]).unwrap()));
        }
        self.looked = self.bytes.len().saturating_sub(1);
        frames
    }
}

fn frame(text: &str) -> Frame {
    let (mut event, mut id, mut data) = (None, None, None);
    for line in text.lines() {
        let (field, value) = line.split_once(": ").unwrap();
        let seen = match field {
            "event" => event.replace(value.to_owned()).is_some(),
            "id" => id.replace(value.parse().unwrap()).is_some(),
            "data" => data.replace(value.to_owned()).is_some(),
            _ => panic!("a strange line in a frame: {line:?}"),
        };
        assert!(!seen, "{field} twice in a frame: {text:?}");
    }
    let (Some(event), Some(data)) = (event, data) else {
        panic!("a frame without event or data: {text:?}");
    };
    Frame { event, id, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_the_bytes_come() {
        let text = "event: a\nid: 7\ndata: {\"x\":\"é\"}\n\nevent: ping\ndata: {}\n\n";
        let mut parser = Parser::default();
        let frames: Vec<Frame> = text
            .as_bytes()
            .chunks(3)
            .flat_map(|chunk| parser.push(chunk))
            .collect();
        assert_eq!(frames.len(), 2);
        assert_eq!(
            (frames[0].id, frames[0].data.as_str()),
            (Some(7), "{\"x\":\"é\"}")
        );
        assert_eq!((frames[1].event.as_str(), frames[1].id), ("ping", None));
    }

    #[test]
    #[should_panic(expected = "strange line")]
    fn a_strange_line_fails() {
        Parser::default().push(b"event: a\nretry: 5\ndata: {}\n\n");
    }
}
