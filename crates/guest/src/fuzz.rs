//! Any bytes as what the host sends to be unpacked or restored: nothing is made but below the directory
//! that was named. A second wall, because a host passes on archives that it does not look into.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use protocol::{EntryKind, Frame as _, FrameDecoder, TreeFrame};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::archive::unpack;
use crate::tree::{Known, restore};

/// Bytes of a file beyond which an input is not tried: it fills a disk, which has a bound of its own.
const FILE_MAX: u64 = 1 << 20;

/// A directory `in` with a link that leads out of it, beside what must not change.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(fuzz::scratch()).unwrap();
        fs::create_dir_all(dir.path().join("in")).unwrap();
        fs::create_dir_all(dir.path().join("out")).unwrap();
        fs::write(dir.path().join("out/file"), "theirs").unwrap();
        symlink("../out", dir.path().join("in/link")).unwrap();
        Self(dir)
    }

    fn inside(&self) -> std::path::PathBuf {
        self.0.path().join("in")
    }

    /// Nothing outside has changed, and nothing inside is what it may not be.
    fn check(&self) {
        let names = |dir: &Path| {
            let names = fs::read_dir(dir).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.0.path()), ["in", "out"]);
        assert_eq!(names(&self.0.path().join("out")), ["file"]);
        let file = self.0.path().join("out/file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
            0o644
        );
        self.plain(&self.inside());
    }

    fn plain(&self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            assert!(!kind.is_char_device() && !kind.is_block_device() && !kind.is_fifo());
            let mode = entry.metadata().unwrap().permissions().mode();
            assert!(
                kind.is_symlink() || mode & 0o4000 == 0,
                "{:?}",
                entry.path()
            );
            if kind.is_dir() {
                self.plain(&entry.path());
            }
        }
    }
}

#[test]
fn any_archive_is_unpacked_below_its_directory_or_refused() {
    fuzz::target!("archive", 2_000, |data| {
        if too_large(data) {
            return;
        }
        let place = Place::new();
        let _ = unpack::unpack(&place.inside(), data);
        place.check();
    });
}

fn too_large(data: &[u8]) -> bool {
    let mut archive = tar::Archive::new(data);
    let entries = archive.entries().into_iter().flatten();
    entries
        .map_while(Result::ok)
        .any(|entry| entry.size() > FILE_MAX)
}

#[test]
fn any_tree_is_restored_below_its_roots_or_refused() {
    fuzz::target!("restored", 2_000, |data| {
        let place = Place::new();
        let frames = below(&place, data);
        let root = place.inside().to_str().unwrap()[1..].to_owned();
        let moment = Known::new().begin(&[Bytes::from(root)]);
        let (sender, queue) = mpsc::channel(1);
        sender.try_send(frames).unwrap();
        drop(sender);
        let (marked, _mark) = oneshot::channel();
        let _ = restore::restore(moment, queue, marked);
        place.check();
    });
}

/// The frames of an input, and an end. Paths that begin with `in/` and `out/` are those of the place;
/// others stay as they are.
fn below(place: &Place, data: &[u8]) -> Bytes {
    let base = place.0.path().to_str().unwrap()[1..].to_owned();
    let moved = |path: &Bytes| match path.starts_with(b"in") || path.starts_with(b"out") {
        true => Bytes::from([base.as_bytes(), b"/", path].concat()),
        false => path.clone(),
    };
    let (mut decoder, mut out) = (FrameDecoder::<TreeFrame>::default(), BytesMut::new());
    decoder.push(data);
    while let Ok(Some(mut frame)) = decoder.next_frame() {
        if let TreeFrame::Entry(entry) = &mut frame {
            entry.path = moved(&entry.path);
            if let EntryKind::Hardlink { target } = &mut entry.kind {
                *target = moved(target);
            }
        }
        frame.encode(&mut out);
    }
    TreeFrame::End(protocol::TreeEnd::default()).encode(&mut out);
    out.freeze()
}
