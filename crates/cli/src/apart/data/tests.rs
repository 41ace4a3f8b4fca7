use std::os::unix::fs::{chown, symlink};

use nix::unistd::geteuid;

use super::*;

fn user(number: u32) -> User {
    User::nobodys(nix::unistd::Uid::from_raw(number))
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// A directory as an earlier version of this program left it. None without root.
fn old() -> Option<tempfile::TempDir> {
    if !geteuid().is_root() {
        eprintln!("skipped: only root gives files away");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for name in [
        "cli/1.0.0",
        "snapshots/a",
        "snapshots/b",
        "files",
        "sandboxes",
    ] {
        fs::create_dir_all(data.join(name)).unwrap();
    }
    for name in [
        "hostel.db",
        "lock",
        "cli/1.0.0/claude",
        "snapshots/a/1.pack",
    ] {
        fs::write(data.join(name), name).unwrap();
    }
    fs::hard_link(
        data.join("snapshots/a/1.pack"),
        data.join("snapshots/b/1.pack"),
    )
    .unwrap();
    Some(home)
}

#[test]
fn what_is_the_servers_is_given_and_the_rest_stays_roots() {
    let Some(home) = old() else { return };
    let data = home.path().join("data");
    for _ in 0..2 {
        assert_eq!(
            give(&data, &user(4711)).unwrap(),
            data.canonicalize().unwrap()
        );
        for name in [
            "hostel.db",
            "lock",
            "files",
            "snapshots/a",
            "snapshots/b/1.pack",
        ] {
            assert_eq!(owner(&data.join(name)), 4711, "{name}");
        }
        for name in ["", "cli", "cli/1.0.0/claude"].iter().chain(&OWNED) {
            assert_eq!(owner(&data.join(name)), 0, "{name}");
        }
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, GIVEN);
    }
    // Another user gets what the one before had.
    give(&data, &user(4712)).unwrap();
    assert_eq!(owner(&data.join("hostel.db")), 4712);
}

#[test]
fn links_lead_nowhere_and_what_has_a_name_elsewhere_is_not_given() {
    let Some(home) = old() else { return };
    let data = home.path().join("data");
    let outside = home.path().join("secret");
    fs::write(&outside, "root's").unwrap();
    fs::create_dir(home.path().join("directory")).unwrap();
    symlink(&outside, data.join("soft")).unwrap();
    symlink(home.path().join("directory"), data.join("files/soft")).unwrap();
    fs::hard_link(&outside, data.join("hard")).unwrap();
    fs::write(data.join("others"), "of somebody else").unwrap();
    chown(data.join("others"), Some(1234), None).unwrap();
    give(&data, &user(4711)).unwrap();
    for name in ["secret", "directory", "data/hard"] {
        assert_eq!(owner(&home.path().join(name)), 0, "{name}");
    }
    assert_eq!(owner(&data.join("others")), 1234);
    assert_eq!(owner(&data.join("hostel.db")), 4711);
}

#[test]
fn a_directory_that_is_in_use_is_left_alone() {
    let Some(home) = old() else { return };
    let data = home.path().join("data");
    let lock = File::open(data.join("lock")).unwrap();
    let _held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    give(&data, &user(4711)).unwrap();
    assert_eq!(owner(&data.join("hostel.db")), 0);
}

#[test]
fn what_belongs_to_others_is_refused_with_words() {
    let Some(home) = old() else { return };
    let data = home.path().join("data");
    let refused = |user: &User| give(&data, user).unwrap_err().to_string();
    fs::create_dir(data.join("runtime")).unwrap();
    chown(data.join("runtime"), Some(4711), None).unwrap();
    assert!(refused(&user(4711)).contains("runtime belongs to user 4711"));
    chown(data.join("runtime"), Some(0), None).unwrap();
    fs::remove_dir_all(data.join("cli")).unwrap();
    symlink("/etc", data.join("cli")).unwrap();
    assert!(refused(&user(4711)).contains("cli is no directory"));
    chown(&data, Some(1234), None).unwrap();
    assert!(refused(&user(4711)).contains("belongs to user 1234"));
}

#[test]
fn a_place_that_the_user_can_move_away_is_refused() {
    let Some(home) = old() else { return };
    let data = home.path().join("data");
    let mode = |mode| fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let refused = give(&data, &user(4711)).unwrap_err().to_string();
    assert!(refused.contains("can replace what lies in"), "{refused}");
    mode(0o1777);
    give(&data, &user(4711)).unwrap();
    chown(home.path(), Some(4711), None).unwrap();
    assert!(give(&data, &user(4711)).is_err());
}

#[test]
fn a_server_that_stays_root_makes_the_next_one_look_again() {
    let Some(home) = old() else { return };
    let data = home.path().join("data");
    give(&data, &user(4711)).unwrap();
    keep(&data).unwrap();
    fs::write(data.join("files/new"), "of root").unwrap();
    give(&data, &user(4711)).unwrap();
    assert_eq!(owner(&data.join("files/new")), 4711);
}

#[test]
fn a_file_of_a_setting_is_made_and_given_and_no_link_is_followed() {
    let Some(home) = old() else { return };
    let file = home.path().join("audit.jsonl");
    give_file(&file, &user(4711)).unwrap();
    assert_eq!(owner(&file), 4711);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let link = home.path().join("link");
    symlink("/etc/shadow", &link).unwrap();
    assert!(give_file(&link, &user(4711)).is_err());
}
