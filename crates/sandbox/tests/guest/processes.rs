//! Processes: start, streams, signals, the whole tree, the end.

use std::time::{Duration, Instant};

use sandbox::guest_channel::{ErrorCode, ProcessSpec, SpawnError, WindowSize};

use crate::inside::{drain, eventually, finish, inside, ready, sh, soon, spec, until};

#[tokio::test]
async fn streams_and_exit_codes_arrive() {
    let Some(inside) = inside().await else { return };
    let done = inside.sh("cat; echo out; echo err >&2; exit 7").await;
    assert_eq!(
        (done.text(), done.complaint()),
        ("out".into(), "err".into())
    );
    assert_eq!((done.exit.code, done.exit.signal), (Some(7), None));
}

#[tokio::test]
async fn several_processes_run_at_once_and_apart() {
    let Some(inside) = inside().await else { return };
    let mut cats = Vec::new();
    for number in 0..8 {
        let (input, output) = inside.spawn(spec(&["cat"])).await.split();
        soon(input.write(format!("ready {number}").as_bytes()))
            .await
            .unwrap();
        cats.push((input, output));
    }
    for (number, (input, mut output)) in cats.into_iter().enumerate() {
        assert_eq!(until(&mut output, "ready").await, format!("ready {number}"));
        soon(input.close_stdin()).await.unwrap();
        assert!(drain(output).await.exit.success());
    }
}

#[tokio::test]
async fn the_environment_and_directory_are_exactly_those_asked_for() {
    let Some(inside) = inside().await else { return };
    let asked = ProcessSpec {
        env: vec![("A".into(), "1".into()), ("B".into(), "\u{e9} =\n".into())],
        cwd: "/workspace".into(),
        ..spec(&["/usr/bin/env", "-0"])
    };
    let done = finish(inside.spawn(asked.clone()).await).await;
    assert_eq!(
        String::from_utf8(done.stdout).unwrap(),
        "A=1\0B=\u{e9} =\n\0"
    );
    let pwd = ProcessSpec {
        argv: vec!["/bin/pwd".into()],
        ..asked
    };
    assert_eq!(finish(inside.spawn(pwd).await).await.text(), "/workspace");
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_clearly() {
    let Some(inside) = inside().await else { return };
    let cwd = ProcessSpec {
        cwd: "/nowhere".into(),
        ..spec(&["true"])
    };
    let env = ProcessSpec {
        env: vec![("A=B".into(), String::new())],
        ..spec(&["/bin/true"])
    };
    inside
        .sh("printf '#!/no/such\\n' >/tmp/odd; chmod +x /tmp/odd")
        .await;
    for (asked, code, names) in [
        (
            spec(&["no-such-program"]),
            ErrorCode::NotFound,
            "no-such-program",
        ),
        (spec(&["/usr/no/such"]), ErrorCode::NotFound, "/usr/no/such"),
        (spec(&["/usr"]), ErrorCode::NotExecutable, "/usr"),
        (spec(&["/tmp/odd"]), ErrorCode::Failed, "/tmp/odd"),
        (spec(&[]), ErrorCode::BadRequest, "argv"),
        (cwd, ErrorCode::BadDirectory, "/nowhere"),
        (env, ErrorCode::BadRequest, "A=B"),
    ] {
        let Err(SpawnError::Refused(refusal)) = soon(inside.guest.spawn(asked)).await else {
            panic!("{names} was started");
        };
        assert_eq!(refusal.code, code, "{}", refusal.message);
        assert!(refusal.message.contains(names), "{}", refusal.message);
    }
}

#[tokio::test]
async fn signals_reach_the_process_and_its_end_says_which() {
    let Some(inside) = inside().await else { return };
    let (input, output, _) = ready(
        &inside,
        sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"),
    )
    .await;
    soon(input.signal(15)).await.unwrap();
    assert_eq!(drain(output).await.exit.code, Some(3));

    let (input, output, _) = ready(&inside, sh("echo ready; exec sleep 1000")).await;
    soon(input.signal(9)).await.unwrap();
    let exit = drain(output).await.exit;
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
}

const DEMON: &str = "for i in 1 2 3; do setsid setsid sleep 4242 & done; \
     (setsid bash -c 'trap \"\" TERM HUP INT; sleep 4242 & while :; do sleep 1; done' &) ; ";

async fn sleepers(inside: &crate::inside::Inside) -> String {
    let each = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done 2>/dev/null";
    inside
        .sh(&format!("{each} | grep -c '^sleep 4242'"))
        .await
        .text()
}

#[tokio::test]
async fn killing_the_tree_reaches_what_double_forked_into_other_sessions() {
    let Some(inside) = inside().await else { return };
    let (input, output, _) = ready(
        &inside,
        sh(&format!("{DEMON} sleep 0.2; echo ready; sleep 1000")),
    )
    .await;
    eventually("all four sleep", async || sleepers(&inside).await == "4").await;
    soon(input.kill_tree()).await.unwrap();
    assert_eq!(drain(output).await.exit.signal, Some(9));
    assert_eq!(sleepers(&inside).await, "0");
}

#[tokio::test]
async fn what_a_process_leaves_behind_is_killed_and_does_not_delay_its_end() {
    let Some(inside) = inside().await else { return };
    let before = Instant::now();
    let done = inside.sh(&format!("{DEMON} echo said")).await;
    assert_eq!((done.text(), done.exit.code), ("said".into(), Some(0)));
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(sleepers(&inside).await, "0");
}

#[tokio::test]
async fn the_last_of_a_pipeline_may_finish_writing() {
    let Some(inside) = inside().await else { return };
    let done = inside.sh("exec > >(sleep 0.02; cat); echo late").await;
    assert_eq!(done.text(), "late");
}

#[tokio::test]
async fn dropping_a_process_kills_its_tree() {
    let Some(inside) = inside().await else { return };
    let process = ready(
        &inside,
        sh(&format!("{DEMON} sleep 0.2; echo ready; sleep 1000")),
    )
    .await;
    eventually("all four sleep", async || sleepers(&inside).await == "4").await;
    drop(process);
    eventually("none is left", async || sleepers(&inside).await == "0").await;
}

#[tokio::test]
async fn a_process_that_kills_its_supervisor_gains_nothing() {
    let Some(inside) = inside().await else { return };
    let script = "setsid sleep 4242 & echo ready; read; kill -9 $PPID; sleep 1000";
    let (input, output, _) = ready(&inside, sh(script)).await;
    soon(input.write(b"now\n")).await.unwrap();
    assert_eq!(drain(output).await.exit.signal, Some(9));
    eventually("none is left", async || sleepers(&inside).await == "0").await;
}

#[tokio::test]
async fn a_process_that_signals_everybody_ends_alone() {
    let Some(inside) = inside().await else { return };
    let (_input, output, _) = ready(
        &inside,
        sh("trap '' TERM; echo ready; kill -TERM -1; echo on; exit 5"),
    )
    .await;
    assert_eq!(drain(output).await.exit.code, Some(5));
    assert!(inside.sh("true").await.exit.success());
}

#[tokio::test]
async fn a_process_that_stops_its_supervisor_can_still_be_killed() {
    let Some(inside) = inside().await else { return };
    let stop = "echo ready; read; while :; do kill -STOP $PPID; done";
    let (input, output, _) = ready(&inside, sh(stop)).await;
    soon(input.write(b"now\n")).await.unwrap();
    soon(input.kill_tree()).await.unwrap();
    drop((input, output));
    let rest = "grep -l 'kill -STO[P]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l";
    eventually("it is gone", async || inside.sh(rest).await.text() == "0").await;
}

#[tokio::test]
async fn zombies_are_reaped() {
    let Some(inside) = inside().await else { return };
    let script = "for i in $(seq 50); do (setsid true &) ; done; sleep 0.1; echo ready; cat";
    let (_input, _output, _) = ready(&inside, sh(script)).await;
    eventually("no zombie is left", async || {
        inside
            .sh("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")
            .await
            .text()
            == "0"
    })
    .await;
}

#[tokio::test]
async fn a_line_of_100_mb_passes_both_ways() {
    let Some(inside) = inside().await else { return };
    let (input, mut output) = inside.spawn(spec(&["cat"])).await.split();
    let line = vec![b'x'; 100_000_000];
    let send = async {
        soon(input.write(&line)).await.unwrap();
        soon(input.close_stdin()).await.unwrap();
    };
    let receive = async {
        let (mut total, mut exit) = (0, None);
        while let Some(piece) = soon(output.next()).await.unwrap() {
            match piece {
                sandbox::guest_channel::Output::Stdout(bytes) => {
                    assert!(bytes.iter().all(|byte| *byte == b'x'));
                    total += bytes.len();
                }
                sandbox::guest_channel::Output::Exit(end) => exit = Some(end),
                other => panic!("{other:?}"),
            }
        }
        (total, exit)
    };
    let ((), (total, exit)) = tokio::join!(send, receive);
    assert_eq!(total, line.len());
    assert!(exit.unwrap().success());
}

#[tokio::test]
async fn much_input_passes_while_nobody_reads_the_output() {
    let Some(inside) = inside().await else { return };
    let (input, output) = inside.spawn(spec(&["wc", "-c"])).await.split();
    soon(input.write(&vec![b'x'; 10_000_000])).await.unwrap();
    soon(input.close_stdin()).await.unwrap();
    assert_eq!(drain(output).await.text(), "10000000");
}

#[tokio::test]
async fn a_process_that_ignores_its_input_holds_up_nothing() {
    let Some(inside) = inside().await else { return };
    let script = "trap 'echo got it' USR1; echo ready; while :; do sleep 0.01; done";
    let (input, mut output, _) = ready(&inside, sh(script)).await;
    let much = vec![b'x'; 10_000_000];
    let stuck = tokio::time::timeout(Duration::from_millis(300), input.write(&much)).await;
    assert!(
        stuck.is_err(),
        "nobody reads, so it cannot all have been taken"
    );
    soon(input.signal(10)).await.unwrap();
    until(&mut output, "got it").await;
    assert_eq!(inside.sh("echo other").await.text(), "other");
    soon(input.kill_tree()).await.unwrap();
    assert_eq!(drain(output).await.exit.signal, Some(9));
    assert!(soon(input.write(b"more")).await.is_err());
}

#[tokio::test]
async fn output_that_is_not_read_holds_up_only_its_process() {
    let Some(inside) = inside().await else { return };
    let (input, output) = inside.spawn(spec(&["yes"])).await.split();
    for _ in 0..20 {
        assert_eq!(inside.sh("echo other").await.text(), "other");
    }
    soon(input.kill_tree()).await.unwrap();
    assert_eq!(drain(output).await.exit.signal, Some(9));
}

#[tokio::test]
async fn a_terminal_has_its_size_and_takes_a_new_one() {
    let Some(inside) = inside().await else { return };
    let terminal = Some(WindowSize {
        rows: 33,
        cols: 101,
    });
    let script =
        "stty size; tty; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.01; done";
    let (input, mut output, said) = ready(
        &inside,
        ProcessSpec {
            terminal,
            ..sh(script)
        },
    )
    .await;
    assert!(
        said.contains("33 101") && said.contains("/dev/pts/"),
        "{said}"
    );
    soon(input.resize(WindowSize {
        rows: 50,
        cols: 200,
    }))
    .await
    .unwrap();
    until(&mut output, "50 200").await;
    assert_eq!(drain(output).await.exit.code, Some(4));
}

#[tokio::test]
async fn a_terminal_interrupts_and_ends_as_terminals_do() {
    let Some(inside) = inside().await else { return };
    let terminal = Some(WindowSize { rows: 24, cols: 80 });
    let script = "trap 'echo interrupted' INT; echo ready; read line; echo got $line; cat";
    let (input, mut output, _) = ready(
        &inside,
        ProcessSpec {
            terminal,
            ..sh(script)
        },
    )
    .await;
    soon(input.write(b"\x03")).await.unwrap();
    until(&mut output, "interrupted").await;
    soon(input.write(b"word\n")).await.unwrap();
    until(&mut output, "got word").await;
    soon(input.close_stdin()).await.unwrap();
    assert!(drain(output).await.exit.success());
}
