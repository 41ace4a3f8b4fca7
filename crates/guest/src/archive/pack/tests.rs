use std::os::unix::fs::symlink;

use super::*;

fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/b/c"), "c").unwrap();
    fs::write(dir.path().join("d"), "d").unwrap();
    symlink("/etc", dir.path().join("out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    dir
}

#[test]
fn everything_is_packed_in_order_and_sockets_are_left_out() {
    let (dir, mut tar) = (tree(), Vec::new());
    pack(dir.path(), &paths(&["."]), &mut tar).unwrap();
    assert_eq!(names(&tar), ["a", "a/b", "a/b/c", "d", "out"]);
}

#[test]
fn only_what_was_asked_for_is_packed() {
    let (dir, mut tar) = (tree(), Vec::new());
    pack(dir.path(), &paths(&["a/b", "./d"]), &mut tar).unwrap();
    assert_eq!(names(&tar), ["a/b", "a/b/c", "d"]);
}

#[test]
fn long_names_survive() {
    let (dir, mut tar) = (tempfile::tempdir().unwrap(), Vec::new());
    let long = format!("{}/{}", "x".repeat(150), "y".repeat(150));
    fs::create_dir(dir.path().join("x".repeat(150))).unwrap();
    fs::write(dir.path().join(&long), "").unwrap();
    pack(dir.path(), &paths(&["."]), &mut tar).unwrap();
    assert_eq!(names(&tar)[1], long);
}

#[test]
fn what_leaves_the_base_is_refused() {
    let dir = tree();
    for path in ["..", "/etc", "a/../../x"] {
        assert_eq!(
            check(dir.path(), &paths(&[path])).unwrap_err().code,
            ErrorCode::Confined
        );
    }
    let refusal = pack(dir.path(), &paths(&["out/hostname"]), Vec::new()).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Confined);
}

#[test]
fn what_is_not_there_is_refused_before_anything_is_sent() {
    let dir = tree();
    assert_eq!(
        check(dir.path(), &paths(&["zzz"])).unwrap_err().code,
        ErrorCode::NotFound
    );
    let missing = dir.path().join("zzz");
    assert_eq!(
        check(&missing, &[]).unwrap_err().code,
        ErrorCode::BadDirectory
    );
}
