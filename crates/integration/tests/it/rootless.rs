//! A server without root: it works with what the kernel allows and says what is lost; where the
//! kernel allows nothing, it says so and does not start.

use integration::{Agent, Setup};

/// Nobody.
const USER: u32 = 65534;

const AS_NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

#[tokio::test]
async fn an_unprivileged_server_works_and_says_what_is_lost() {
    let setup = Setup::default().wrapped(&AS_NOBODY).owned_by(USER);
    let Some(world) = setup.start().await else {
        return;
    };
    assert_eq!(world.server().user(), USER);
    let session = world.session(&Agent::free()).await;
    let turn = session
        .turn("@tool Bash {\"command\":\"id -u; ls /root; echo x > /usr/x\"}\n@say {{result}}")
        .await;
    assert_eq!(turn.stop_reason(), "end_turn", "{turn:#?}");
    assert_eq!(turn.errors(), []);
    assert_eq!(world.sandbox().await.guest.user(), USER);
    let log = world.log();
    for lost in [
        "memory, cpu and process limits are not kept",
        "disks are in memory",
    ] {
        assert!(log.contains(lost), "{lost:?} in {log}");
    }
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn without_user_namespaces_an_unprivileged_server_says_so_and_does_not_start() {
    // In a user namespace of its own the limit can be set without touching the machine's.
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"";
    let wrapper = [
        &AS_NOBODY[..],
        &[
            "unshare",
            "--user",
            "--map-current-user",
            "--keep-caps",
            "sh",
            "-c",
            none,
            "sh",
        ],
    ]
    .concat();
    let Some(started) = Setup::default()
        .wrapped(&wrapper)
        .owned_by(USER)
        .try_start()
        .await
    else {
        return;
    };
    let Err(refused) = started else {
        panic!("it started")
    };
    if refused
        .log
        .contains("max_user_namespaces: Permission denied")
        || refused.log.contains("unshare failed")
    {
        return integration::skip("the limit of user namespaces cannot be set here");
    }
    assert!(!refused.status.success());
    assert!(
        refused.log.contains("sysctl user.max_user_namespaces"),
        "{}",
        refused.log
    );
}
