//! Any bytes that a process which says to be claude may write.

use bytes::Bytes;
use claude::frame::{Frame, Mirror};
use claude::lines::{Line, Lines};
use claude::transcript;

/// Bytes of a line; far fewer than usual, so that the bound is met.
const LIMIT: usize = 4096;

#[test]
fn any_output_is_lines_frames_and_transcripts_or_an_error() {
    fuzz::target!("output", 20_000, |data| {
        let seed = data.first().copied().unwrap_or_default();
        let whole = lines(std::iter::once(data));
        // Where a line that is too long is cut decides when that is noticed, and nothing else.
        let told = |lines: &[Line]| {
            let whole = lines
                .iter()
                .filter(|line| !matches!(line, Line::TooLong { .. }));
            whole.cloned().collect::<Vec<_>>()
        };
        assert_eq!(told(&whole), told(&lines(fuzz::pieces(data, seed))));
        for line in whole {
            match line {
                Line::Json(line) => frame(&line),
                Line::Garbage { excerpt, length } => {
                    assert!(length <= LIMIT && excerpt.len() <= 800 && excerpt.is_ascii());
                }
                Line::TooLong { limit } => assert_eq!(limit, LIMIT),
            }
        }
    });
}

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Line> {
    let (mut lines, mut found) = (Lines::new(LIMIT), Vec::new());
    for piece in pieces {
        lines.push(Bytes::copy_from_slice(piece));
        found.extend(std::iter::from_fn(|| lines.next_line()));
        assert!(lines.held() <= LIMIT);
    }
    found
}

fn frame(line: &[u8]) {
    let Ok(frame) = Frame::parse(line) else {
        return;
    };
    // What a person may be shown.
    let _ = format!("{frame:?}");
    match frame {
        Frame::Unknown(unknown) => {
            let line = std::str::from_utf8(line).expect("a frame is text");
            assert_eq!(
                unknown.raw.get(),
                line.trim_matches([' ', '\t', '\r', '\n'])
            );
        }
        Frame::Mirror(mirror) => restored(&mirror),
        _ => {}
    }
}

/// What goes back into a configuration directory lies below it, an entry a line.
fn restored(mirror: &Mirror) {
    let Ok(key) = transcript::key(mirror) else {
        return;
    };
    let entries = || mirror.entries.iter().map(|entry| &**entry);
    let _ = transcript::resumable(entries());
    let files = transcript::restore(&key, entries()).expect("its key was taken");
    for file in &files {
        assert!(file.path.starts_with("projects/"), "{}", file.path);
        let mut names = file.path.split('/');
        assert!(
            names.all(|name| !matches!(name, "" | "." | "..")),
            "{}",
            file.path
        );
    }
    let lines: Vec<&[u8]> = files[0].content.split(|byte| *byte == b'\n').collect();
    assert!(lines.len() <= mirror.entries.len() + 1);
    for line in &lines[..lines.len() - 1] {
        serde_json::from_slice::<serde::de::IgnoredAny>(line).expect("an entry is JSON");
    }
}
