//! Splits what the CLI writes to its standard output into lines.
//!
//! One line is one JSON object. The splitter takes bytes as they come and hands out whole lines;
//! a line that lies inside one chunk is a slice of it, not a copy. It never parses JSON beyond
//! looking at the first byte, never blocks, and never holds more than its limit.
//!
//! What does not belong there is reported and dropped: a line that cannot be a frame as
//! [`Line::Garbage`], a line over the limit once as [`Line::TooLong`], and a last line without its
//! newline at the end of output not at all, because a process that died half way through a line
//! has not said it.

use bytes::{Bytes, BytesMut};

/// Bytes a line may have unless the caller says otherwise. A 20 MB answer of the model arrives as
/// one line of the same size, so the bound lies well above that; it is what one session can make
/// its host hold.
pub const DEFAULT_LIMIT: usize = 64 * 1024 * 1024;

/// Bytes of a line that is not a frame that are kept to show to a person.
const EXCERPT: usize = 200;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line that looks like a JSON object, without its newline.
    Json(Bytes),
    /// A line that is something else. Blank lines are dropped without a word.
    Garbage {
        /// The beginning of the line with control and non-ASCII bytes escaped.
        excerpt: String,
        /// Bytes in the line.
        length: usize,
    },
    /// A line grew over the limit; it is dropped up to its end.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

/// The splitter. Feed it with [`Lines::push`] and take lines with [`Lines::next_line`] until it
/// gives none.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    /// The beginning of a line whose end has not come yet; never longer than `limit`.
    partial: BytesMut,
    /// What was pushed and not split yet.
    chunk: Bytes,
    /// Inside a line that was too long: bytes are thrown away up to its newline.
    skipping: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl Lines {
    /// A splitter that accepts lines of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: BytesMut::new(),
            chunk: Bytes::new(),
            skipping: false,
        }
    }

    /// Adds output. Take all lines before pushing again: a chunk that was not taken yet is kept
    /// by copying.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
            return;
        }
        let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
        joined.extend_from_slice(&self.chunk);
        joined.extend_from_slice(&chunk);
        self.chunk = joined.freeze();
    }

    /// The next whole line, if there is one.
    pub fn next_line(&mut self) -> Option<Line> {
        while !self.chunk.is_empty() {
            let Some(end) = memchr::memchr(b'\n', &self.chunk) else {
                return self.keep_partial();
            };
            let rest = self.chunk.split_to(end + 1).slice(..end);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.len() + rest.len() > self.limit {
                self.partial.clear();
                return Some(Line::TooLong { limit: self.limit });
            }
            let line = self.complete(rest);
            if let Some(line) = classify(line) {
                return Some(line);
            }
        }
        None
    }

    /// Bytes held for a line whose end has not come.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    fn complete(&mut self, rest: Bytes) -> Bytes {
        if self.partial.is_empty() {
            return rest;
        }
        self.partial.extend_from_slice(&rest);
        self.partial.split().freeze()
    }

    /// Moves a chunk without a newline to the partial line, or gives up on that line.
    fn keep_partial(&mut self) -> Option<Line> {
        let chunk = std::mem::take(&mut self.chunk);
        if self.skipping {
            return None;
        }
        if self.partial.len() + chunk.len() > self.limit {
            self.partial = BytesMut::new();
            self.skipping = true;
            return Some(Line::TooLong { limit: self.limit });
        }
        self.partial.extend_from_slice(&chunk);
        None
    }
}

fn classify(line: Bytes) -> Option<Line> {
    let start = line.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if line[start] == b'{' {
        return Some(Line::Json(line));
    }
    let shown = &line[start..line.len().min(start + EXCERPT)];
    Some(Line::Garbage {
        excerpt: shown.escape_ascii().to_string(),
        length: line.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(lines: &mut Lines) -> Vec<Line> {
        std::iter::from_fn(|| lines.next_line()).collect()
    }

    fn json(text: &'static str) -> Line {
        Line::Json(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_line_inside_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n");
        let mut lines = Lines::default();
        lines.push(chunk.clone());
        let Some(Line::Json(first)) = lines.next_line() else {
            panic!("no line")
        };
        assert_eq!(first.as_ptr(), chunk.as_ptr());
        assert_eq!(all(&mut lines), [json("{\"b\":2}")]);
    }

    #[test]
    fn a_partial_last_line_is_dropped() {
        let mut lines = Lines::default();
        lines.push(Bytes::from_static(b"{\"a\":1}\n{\"b\":"));
        assert_eq!(all(&mut lines), [json("{\"a\":1}")]);
        assert_eq!(lines.held(), 5);
    }

    #[test]
    fn a_line_that_is_not_a_frame_is_shown_escaped() {
        let mut lines = Lines::default();
        lines.push(Bytes::from_static(b"\n  \r\nboom\x1b[31m\xff\n{}\n"));
        assert_eq!(
            all(&mut lines),
            [
                Line::Garbage {
                    excerpt: "boom\\x1b[31m\\xff".into(),
                    length: 10
                },
                json("{}")
            ]
        );
    }

    #[test]
    fn a_long_line_of_garbage_is_cut_for_show() {
        let mut lines = Lines::default();
        lines.push(Bytes::from(format!("{}\n", "x".repeat(5000))));
        let Some(Line::Garbage { excerpt, length }) = lines.next_line() else {
            panic!("no line")
        };
        assert_eq!((excerpt.len(), length), (EXCERPT, 5000));
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_skipped_to_its_end() {
        let mut lines = Lines::new(8);
        let mut seen = Vec::new();
        for chunk in [
            "{\"1234",
            "56789",
            "abc",
            "def}\n{}\n",
            "{\"123456789\"}\n{}\n",
        ] {
            lines.push(Bytes::from(chunk));
            seen.extend(all(&mut lines));
            assert!(lines.held() <= 8);
        }
        let long = Line::TooLong { limit: 8 };
        assert_eq!(seen, [long.clone(), json("{}"), long, json("{}")]);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_lines(
            text in "[{}a\n]{0,80}",
            cuts in proptest::collection::vec(0usize..80, 0..8),
        ) {
            let mut whole = Lines::new(16);
            whole.push(Bytes::from(text.clone()));
            let expected = all(&mut whole);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let (mut lines, mut seen, mut from) = (Lines::new(16), Vec::new(), 0);
            for cut in cuts {
                lines.push(Bytes::copy_from_slice(&text.as_bytes()[from..cut]));
                seen.extend(all(&mut lines));
                from = cut;
            }
            // A trailing line without its end may have been reported as too long or not, depending on the cut alone.
            let terminated = |lines: Vec<Line>| lines.into_iter().filter(|line| !matches!(line, Line::TooLong { .. })).collect::<Vec<_>>();
            prop_assert_eq!(terminated(seen), terminated(expected));
        }
    }
}
