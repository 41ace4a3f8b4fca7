//! A server that somebody has taken over speaks to the keeper as it likes: it gets nothing that an honest
//! one would not get, and where it speaks nonsense it loses all sandboxes.

use std::{
    io::{IoSlice, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    process::Child,
    time::Duration,
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use sandbox::{GroupLimits, Mount, Provider, ProviderError, Rootfs, keeper::Kept};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    ends::Pair,
    world::{config, id, is_root, keep, out, spec},
};

/// A keeper with whom we speak by hand.
struct Taken {
    socket: UnixStream,
    process: Child,
    data: TempDir,
}

impl Taken {
    /// Begun. None, with a printed reason, where sandboxes cannot be made.
    fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let Kept { socket, process } = keep(&config(data.path()));
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut taken = Self {
            socket,
            process,
            data,
        };
        taken.say(&json!({"number": 0, "ask": "Begin"}));
        assert!(taken.hear()["told"]["Begun"].is_object());
        Some(taken)
    }

    fn say(&mut self, head: &Value) {
        // A keeper that has ended already is what the tests look for.
        let _ = self.socket.write_all(&frame(&head.to_string()));
    }

    fn hear(&mut self) -> Value {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        self.socket.read_exact(&mut frame).unwrap();
        serde_json::from_slice(&frame[4..]).unwrap()
    }

    /// The keeper ends with a complaint, and nothing is left.
    async fn must_end(mut self) {
        let status = Pair::ended(&mut self.process).await;
        assert_eq!(status.code(), Some(3), "{status}");
        let left = std::fs::read_dir(self.data.path().join("sandboxes")).unwrap();
        assert_eq!(left.count(), 0);
    }
}

fn frame(head: &str) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    [
        &length(head.len() + 4)[..],
        &length(head.len()),
        head.as_bytes(),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_outside_of_the_bounds_is_refused_and_leaves_nothing() {
    let Some(pair) = Pair::new().await else {
        return;
    };
    let data = pair.world.data.path();
    let mount = |source: String| {
        let mut wanted = spec("outside");
        wanted.read_only.push(Mount {
            source: source.into(),
            target: "/opt/hostel/claude".into(),
        });
        wanted
    };
    let mut wanted: Vec<_> = [
        "/etc/shadow".to_owned(),
        "/".to_owned(),
        "/proc/1/root/etc".to_owned(),
        format!("{}/hostel.db", data.display()),
        format!("{}/cli/../hostel.db", data.display()),
        format!("{}/cli", data.display()),
    ]
    .map(mount)
    .into();
    for root in ["/", "/root"] {
        let mut other = spec("outside");
        other.rootfs = Rootfs::Directory(root.into());
        wanted.push(other);
    }
    let mut other = spec("outside");
    other.rootfs = Rootfs::Tarball("/etc/shadow".into());
    wanted.push(other);
    let mut much = spec("outside");
    much.resources.memory_bytes = u64::MAX;
    wanted.push(much);
    for wanted in wanted {
        match pair.remote.create(&wanted).await {
            Err(ProviderError::Spec { reason, .. }) => {
                assert!(reason.contains("keeper"), "{reason}");
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was made: {wanted:?}"),
        }
    }
    pair.world.assert_nothing_left().await;
    // An honest request goes on being answered.
    let mut sandbox = pair.world.create("honest").await;
    assert_eq!(out(&mut sandbox, "echo fine").await, "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_groups_lead_nowhere_else() {
    let Some(pair) = Pair::new().await else {
        return;
    };
    let mut sandbox = pair.world.create("home").await;
    let home = id("home");
    for name in ["..", "../home", "a/b", "", "/", "a\n", "_guest"] {
        let remote = &pair.remote;
        let none = GroupLimits::default();
        assert!(remote.group(&home, name, none).await.is_err(), "{name:?}");
        assert!(remote.join(&home, name, 1).await.is_err(), "{name:?}");
        assert!(remote.freeze(&home, Some(name)).await.is_err(), "{name:?}");
        assert!(remote.group_limits(&home, name).await.is_err(), "{name:?}");
        assert!(remote.kill_group(&home, name).await.is_err(), "{name:?}");
    }
    assert_eq!(out(&mut sandbox, "echo here").await, "here");
    pair.remote.destroy(&home).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_ends_the_keeper_with_all_sandboxes() {
    let number = |ask: Value| json!({"number": 9, "ask": ask}).to_string();
    let nonsense = [
        frame(&number(json!({"Destroy": "../../etc"}))),
        frame(&number(json!({"Destroy": "a/b"}))),
        frame(&number(json!({"Run": "/bin/sh"}))),
        frame("{}"),
        frame(""),
        // Frames that are cut short inside, longer than allowed, longer than memory.
        vec![4, 0, 0, 0, 9, 9, 9, 9],
        vec![1, 0, 0, 0, 0],
        [&(2_u32 << 20).to_le_bytes()[..], &vec![b'x'; 64 << 10]].concat(),
        vec![0xff; 64],
    ];
    for bytes in nonsense {
        let Some(mut taken) = Taken::new() else {
            return;
        };
        let wanted = serde_json::to_value(spec("hostage")).unwrap();
        taken.say(&json!({"number": 1, "ask": {"Create": {"spec": wanted, "trusted": null}}}));
        assert!(taken.hear()["told"]["Made"].is_object());
        let _ = taken.socket.write_all(&bytes);
        taken.must_end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_authorities_that_is_not_all_there_ends_the_keeper() {
    for trusted in [json!(1), json!(u64::MAX)] {
        let Some(mut taken) = Taken::new() else {
            return;
        };
        let wanted = serde_json::to_value(spec("cut")).unwrap();
        taken.say(&json!({"number": 1, "ask": {"Create": {"spec": wanted, "trusted": trusted}}}));
        taken.must_end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_at_a_time_than_are_allowed_end_the_keeper() {
    let Some(mut taken) = Taken::new() else {
        return;
    };
    // Nobody reads the replies, so all of them stay under way.
    let mut asked = Vec::new();
    for number in 1..2000 {
        asked.extend(frame(&json!({"number": number, "ask": "List"}).to_string()));
    }
    let _ = taken
        .socket
        .set_write_timeout(Some(Duration::from_secs(60)));
    let wanted = serde_json::to_value(spec("slow")).unwrap();
    for number in 2000..2600 {
        let ask = json!({"number": number, "ask": {"Create": {"spec": wanted, "trusted": null}}});
        asked.extend(frame(&ask.to_string()));
    }
    let _ = taken.socket.write_all(&asked);
    taken.must_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_under_way_cannot_be_taken_again() {
    let Some(mut taken) = Taken::new() else {
        return;
    };
    let wanted = serde_json::to_value(spec("twin")).unwrap();
    let ask = json!({"number": 1, "ask": {"Create": {"spec": wanted, "trusted": null}}});
    let twice = frame(&ask.to_string()).repeat(2);
    let _ = taken.socket.write_all(&twice);
    taken.must_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beginning_is_the_first_thing_and_happens_once() {
    let Some(mut taken) = Taken::new() else {
        return;
    };
    taken.say(&json!({"number": 1, "ask": "Begin"}));
    assert!(taken.hear()["told"]["Refused"].is_object());
    drop(taken.socket);
    assert!(Pair::ended(&mut taken.process).await.success());

    let data = tempfile::tempdir().unwrap();
    let Kept {
        mut socket,
        mut process,
    } = keep(&config(data.path()));
    let early = json!({"number": 1, "ask": "List"}).to_string();
    socket.write_all(&frame(&early)).unwrap();
    assert_eq!(Pair::ended(&mut process).await.code(), Some(3));
    assert!(!data.path().join("sandboxes").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_that_are_sent_to_the_keeper_do_not_arrive() {
    let Some(mut taken) = Taken::new() else {
        return;
    };
    let open = |process: &Child| {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", process.id()));
        descriptors.unwrap().count()
    };
    let before = open(&taken.process);
    let passwords = std::fs::File::open("/etc/passwd").unwrap();
    for number in 1..20 {
        let ask = frame(&json!({"number": number, "ask": "List"}).to_string());
        let sent = sendmsg::<()>(
            taken.socket.as_raw_fd(),
            &[IoSlice::new(&ask)],
            &[ControlMessage::ScmRights(&[passwords.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        );
        assert_eq!(sent.unwrap(), ask.len());
        assert!(taken.hear()["told"]["Listed"].is_array());
    }
    assert_eq!(open(&taken.process), before);
    drop(taken.socket);
    assert!(Pair::ended(&mut taken.process).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_sees_nothing_of_its_servers_environment() {
    let Some(taken) = Taken::new() else {
        return;
    };
    let environment = std::fs::read(format!("/proc/{}/environ", taken.process.id())).unwrap();
    let variables: Vec<_> = environment
        .split(|byte| *byte == 0)
        .filter(|variable| !variable.is_empty())
        .collect();
    assert_eq!(variables.len(), 1, "{variables:?}");
    assert!(variables[0].starts_with(b"PATH="));
}
