use std::os::unix::fs::{PermissionsExt as _, symlink};

use tar::{Builder, Header};

use super::*;

struct Item<'a> {
    name: &'a str,
    kind: EntryType,
    link: &'a str,
    mode: u32,
}

fn file_at(name: &str) -> Item<'_> {
    Item {
        name,
        kind: EntryType::Regular,
        link: "",
        mode: 0o644,
    }
}

fn link_to<'a>(name: &'a str, kind: EntryType, link: &'a str) -> Item<'a> {
    Item {
        name,
        kind,
        link,
        mode: 0o777,
    }
}

/// An archive as an attacker writes it: names go in unchecked.
fn archive(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..item.name.len()].copy_from_slice(item.name.as_bytes());
        header.as_old_mut().linkname[..item.link.len()].copy_from_slice(item.link.as_bytes());
        header.set_entry_type(item.kind);
        header.set_mode(item.mode);
        let content: &[u8] = if item.kind == EntryType::Regular {
            b"content"
        } else {
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Unpacks below `outer/dir` and returns `outer` with the result.
fn run(
    prepare: impl FnOnce(&Path),
    items: &[Item<'_>],
) -> (tempfile::TempDir, Result<(), Refusal>) {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("dir");
    fs::create_dir(&dir).unwrap();
    prepare(outer.path());
    let result = unpack(&dir, &archive(items)[..]);
    (outer, result)
}

#[test]
fn files_directories_and_links_arrive() {
    let items = [
        Item {
            name: "a/",
            kind: EntryType::Directory,
            link: "",
            mode: 0o750,
        },
        file_at("a/b/c.txt"),
        link_to("a/soft", EntryType::Symlink, "/etc/hostname"),
        link_to("hard", EntryType::Link, "a/b/c.txt"),
    ];
    let (outer, result) = run(|_| {}, &items);
    result.unwrap();
    let dir = outer.path().join("dir");
    assert_eq!(fs::read(dir.join("a/b/c.txt")).unwrap(), b"content");
    assert_eq!(fs::read(dir.join("hard")).unwrap(), b"content");
    assert_eq!(
        fs::read_link(dir.join("a/soft")).unwrap(),
        Path::new("/etc/hostname")
    );
    assert_eq!(
        dir.join("a").metadata().unwrap().permissions().mode() & 0o7777,
        0o750
    );
}

#[test]
fn paths_that_leave_the_directory_are_refused() {
    for name in ["../evil", "/evil", "a/../../evil", "./../evil"] {
        let (outer, result) = run(|_| {}, &[file_at(name)]);
        assert_eq!(result.unwrap_err().code, ErrorCode::Confined, "{name}");
        assert!(!outer.path().join("evil").exists(), "{name}");
    }
}

#[test]
fn a_link_in_the_archive_is_not_passed_through() {
    for target in ["..", "/tmp"] {
        let items = [
            link_to("door", EntryType::Symlink, target),
            file_at("door/evil"),
        ];
        let (outer, result) = run(|_| {}, &items);
        assert_eq!(result.unwrap_err().code, ErrorCode::Confined);
        assert!(!outer.path().join("evil").exists());
    }
}

#[test]
fn a_link_that_was_there_is_replaced_and_not_followed() {
    let prepare = |outer: &Path| {
        fs::write(outer.join("secret"), "old").unwrap();
        symlink("../secret", outer.join("dir/f")).unwrap();
    };
    let (outer, result) = run(prepare, &[file_at("f")]);
    result.unwrap();
    assert_eq!(
        fs::read_to_string(outer.path().join("secret")).unwrap(),
        "old"
    );
    assert_eq!(fs::read(outer.path().join("dir/f")).unwrap(), b"content");
}

#[test]
fn a_directory_entry_does_not_touch_what_a_link_leads_to() {
    let prepare = |outer: &Path| {
        fs::create_dir(outer.join("other")).unwrap();
        fs::set_permissions(outer.join("other"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("../other", outer.join("dir/d")).unwrap();
    };
    let items = [Item {
        name: "d/",
        kind: EntryType::Directory,
        link: "",
        mode: 0o777,
    }];
    let (outer, result) = run(prepare, &items);
    result.unwrap();
    let mode = outer
        .path()
        .join("other")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(
        outer
            .path()
            .join("dir/d")
            .symlink_metadata()
            .unwrap()
            .is_dir()
    );
}

#[test]
fn hard_links_reach_only_what_is_below() {
    let prepare = |outer: &Path| {
        fs::write(outer.join("secret"), "old").unwrap();
        symlink("..", outer.join("dir/up")).unwrap();
    };
    for target in ["../secret", "/etc/hostname", "up/secret"] {
        let (outer, result) = run(prepare, &[link_to("mine", EntryType::Link, target)]);
        assert_eq!(result.unwrap_err().code, ErrorCode::Confined, "{target}");
        assert!(!outer.path().join("dir/mine").exists());
    }
}

#[test]
fn devices_and_pipes_are_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let items = [Item {
            name: "node",
            kind,
            link: "",
            mode: 0o666,
        }];
        let (_, result) = run(|_| {}, &items);
        assert_eq!(result.unwrap_err().code, ErrorCode::Confined);
    }
}

#[test]
fn setuid_setgid_and_sticky_are_dropped() {
    let items = [Item {
        mode: 0o7755,
        ..file_at("tool")
    }];
    let (outer, result) = run(|_| {}, &items);
    result.unwrap();
    let mode = outer
        .path()
        .join("dir/tool")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn garbage_is_an_error() {
    let outer = tempfile::tempdir().unwrap();
    let garbage = [7u8; 2048];
    assert!(unpack(&outer.path().join("dir"), &garbage[..]).is_err());
}
