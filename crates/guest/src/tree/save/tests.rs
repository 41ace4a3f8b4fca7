use std::{fs, io::Write as _, path::Path, thread};

use protocol::FrameDecoder;

use super::*;
use crate::tree::Known;

/// A save of a directory that stops whenever nobody listens.
struct Slow {
    pieces: mpsc::Receiver<Bytes>,
    decoder: FrameDecoder<TreeFrame>,
    walk: thread::JoinHandle<Result<(TreeEnd, Moment), Refusal>>,
}

impl Slow {
    fn save(dir: &Path) -> Self {
        let root = dir.to_str().unwrap().trim_start_matches('/').to_owned();
        let moment = Known::new().begin(&[Bytes::from(root)]);
        let (sender, pieces) = mpsc::channel(1);
        Self {
            pieces,
            decoder: FrameDecoder::default(),
            walk: thread::spawn(move || save(moment, None, sender)),
        }
    }

    /// The next frame, while the rest waits.
    fn next(&mut self) -> Option<TreeFrame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            self.decoder.push(&self.pieces.blocking_recv()?);
        }
    }

    /// Takes frames up to one, and gives how many bytes of content came before.
    fn until(&mut self, wanted: impl Fn(&TreeFrame) -> bool) -> (u64, TreeFrame) {
        let mut bytes = 0;
        loop {
            match self.next().expect("it comes before the end") {
                frame if wanted(&frame) => return (bytes, frame),
                TreeFrame::Data(data) => bytes += data.len() as u64,
                TreeFrame::Hole(len) => bytes += len,
                _ => {}
            }
        }
    }

    fn end(mut self) -> TreeEnd {
        while self.next().is_some() {}
        self.walk.join().unwrap().unwrap().0
    }
}

fn is_file(frame: &TreeFrame) -> bool {
    matches!(frame, TreeFrame::Entry(entry) if !entry.is_dir())
}

fn append(path: &Path) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(b"more").unwrap();
}

/// So much that most of it still waits when its beginning was taken.
const LEN: u64 = 4_000_000;

#[test]
fn a_file_that_changes_while_it_is_read_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, vec![b'x'; LEN as usize]).unwrap();
    let mut slow = Slow::save(dir.path());
    slow.until(is_file);
    append(&path);
    slow.until(|frame| *frame == TreeFrame::Void);
    let (_, again) = slow.until(is_file);
    let TreeFrame::Entry(entry) = again else {
        panic!("{again:?}")
    };
    assert_eq!(entry.kind, EntryKind::File { size: LEN + 4 });
    let (bytes, end) = slow.until(|frame| matches!(frame, TreeFrame::FileEnd { .. }));
    assert_eq!((bytes, end), (LEN + 4, TreeFrame::FileEnd { torn: false }));
    assert_eq!(slow.end().skipped, 0);
}

#[test]
fn a_file_that_changes_again_is_as_long_as_it_said_and_marked() {
    for shrinks in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, vec![b'x'; LEN as usize]).unwrap();
        let mut slow = Slow::save(dir.path());
        slow.until(is_file);
        append(&path);
        slow.until(|frame| *frame == TreeFrame::Void);
        slow.until(is_file);
        if shrinks {
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(0)
                .unwrap();
        } else {
            append(&path);
        }
        let (bytes, end) = slow.until(|frame| matches!(frame, TreeFrame::FileEnd { .. }));
        assert_eq!((bytes, end), (LEN + 4, TreeFrame::FileEnd { torn: true }));
        slow.end();
    }
}

#[test]
fn what_is_nested_too_deep_is_counted_and_the_rest_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut deep = dir.path().to_owned();
    for _ in 0..DEPTH_MAX + 10 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let mut slow = Slow::save(dir.path());
    slow.until(is_file);
    let end = slow.end();
    assert_eq!(end.skipped, 1);
    assert!(end.example.unwrap().ends_with("nested too deep"));
}
