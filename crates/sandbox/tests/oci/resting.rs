//! Sandboxes and groups in them that stand still, are measured, and are given more or less.

use std::{fs, path::Path, time::Duration};

use sandbox::{GroupLimits, ProviderError, Reclaimed};

use crate::world::{World, answer, id, out, run, spec};

/// Counts for ever, so that anybody can see whether it runs.
const COUNTER: &str = "while :; do echo x >> /tmp/count; sleep 0.005; done";

pub async fn stands_still_while_frozen(world: &World, sandbox: &mut sandbox::Sandbox) {
    let (provider, id) = (&world.provider, sandbox.id.clone());
    out(
        sandbox,
        &format!("(setsid sh -c '{COUNTER}') </dev/null >/dev/null 2>&1 & echo started"),
    )
    .await;
    for _ in 0..2 {
        provider.freeze(&id, None).await.unwrap();
        provider.freeze(&id, None).await.unwrap();
        let before = provider.footprints(&id).await.unwrap();
        assert!(before.sandbox.memory_bytes > 0, "{before:?}");
        assert!(!before.sandbox.processor_time.is_zero(), "{before:?}");
        // A frozen guest answers nothing.
        let asked = run(sandbox, "echo awake");
        let early = tokio::time::timeout(Duration::from_millis(200), asked).await;
        assert!(early.is_err(), "it answered: {early:?}");
        let after = provider.footprints(&id).await.unwrap();
        assert_eq!(
            before.sandbox.processor_time, after.sandbox.processor_time,
            "something runs"
        );
        provider.thaw(&id, None).await.unwrap();
        provider.thaw(&id, None).await.unwrap();
        assert_eq!(answer(sandbox).await, ("awake\n".to_owned(), 0));
    }
    let lines = "until test -s /tmp/count; do sleep 0.01; done; wc -l < /tmp/count";
    let lines: u64 = out(sandbox, lines).await.parse().unwrap();
    let more = format!("until test $(wc -l < /tmp/count) -gt {lines}; do sleep 0.01; done");
    assert_eq!(run(sandbox, &more).await.1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_sandbox_can_be_destroyed_and_an_absent_one_not_be_frozen() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let sandbox = world.create("icy").await;
    let (provider, icy) = (&world.provider, id("icy"));
    provider.freeze(&icy, None).await.unwrap();
    provider.destroy(&icy).await.unwrap();
    drop(sandbox);
    world.assert_nothing_left().await;
    for outcome in [
        provider.freeze(&icy, None).await,
        provider.thaw(&icy, None).await,
        provider.footprints(&icy).await.map(drop),
        provider.reclaim(&icy).await.map(drop),
        provider.group(&icy, "a", GroupLimits::default()).await,
        provider.join(&icy, "a", 1).await,
        provider.group_limits(&icy, "a").await.map(drop),
        provider.kill_group(&icy, "a").await,
    ] {
        assert!(
            matches!(outcome, Err(ProviderError::Absent { .. })),
            "{outcome:?}"
        );
    }
}

/// Starts a shell that runs `line` in a session of its own, and tells its number inside.
async fn start(sandbox: &mut sandbox::Sandbox, line: &str) -> u32 {
    let started = format!(
        "setsid sh -c 'echo $$ > /tmp/pid; {line}' </dev/null >/dev/null 2>&1 & \
         until test -s /tmp/pid; do sleep 0.01; done; cat /tmp/pid; rm /tmp/pid"
    );
    out(sandbox, &started).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_frozen_measured_and_killed_apart() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("shared").await;
    let (provider, shared) = (&world.provider, id("shared"));
    for name in ["left", "right"] {
        let none = provider.join(&shared, name, 1).await;
        assert!(
            matches!(none, Err(ProviderError::NoGroup { .. })),
            "{none:?}"
        );
        let limits = GroupLimits {
            memory_bytes: Some(64 << 20),
        };
        provider.group(&shared, name, limits).await.unwrap();
        provider
            .group(&shared, name, GroupLimits::default())
            .await
            .unwrap();
    }
    // The counting is a descendant's work.
    let left = start(&mut sandbox, &format!("({COUNTER}) & wait")).await;
    let right = start(
        &mut sandbox,
        "while :; do echo x >> /tmp/other; sleep 0.005; done",
    )
    .await;
    provider.join(&shared, "left", left).await.unwrap();
    provider.join(&shared, "left", left).await.unwrap();
    provider.join(&shared, "right", right).await.unwrap();
    let nobody = provider.join(&shared, "left", 999_999).await;
    assert!(
        matches!(nobody, Err(ProviderError::NoProcess { .. })),
        "{nobody:?}"
    );

    provider.freeze(&shared, Some("left")).await.unwrap();
    let count = "touch /tmp/count /tmp/other; wc -l < /tmp/count; wc -l < /tmp/other";
    let counts = |text: String| -> Vec<u64> {
        text.lines()
            .map(|line| line.trim().parse().unwrap())
            .collect()
    };
    let before = counts(out(&mut sandbox, count).await);
    let after = counts(out(&mut sandbox, &format!("sleep 0.3; {count}")).await);
    assert_eq!(before[0], after[0], "the frozen group goes on");
    assert!(before[1] < after[1], "the other group stands still");
    let taken = provider.footprints(&shared).await.unwrap();
    assert_eq!(taken.groups.keys().collect::<Vec<_>>(), ["left", "right"]);
    assert!(
        taken
            .groups
            .values()
            .all(|group| !group.processor_time.is_zero()),
        "{taken:?}"
    );
    assert!(taken.sandbox.processor_time >= taken.groups["right"].processor_time);

    // Frozen as a whole, it stays so while one group dies.
    provider.freeze(&shared, None).await.unwrap();
    provider.kill_group(&shared, "left").await.unwrap();
    provider.kill_group(&shared, "left").await.unwrap();
    let taken = provider.footprints(&shared).await.unwrap();
    assert_eq!(taken.groups.keys().collect::<Vec<_>>(), ["right"]);
    let still = provider.footprints(&shared).await.unwrap();
    assert_eq!(taken.sandbox.processor_time, still.sandbox.processor_time);
    provider.thaw(&shared, None).await.unwrap();
    assert_eq!(run(&mut sandbox, &format!("kill -0 {left}")).await.1, 1);
    assert_eq!(run(&mut sandbox, &format!("kill -0 {right}")).await.1, 0);
    let before = counts(out(&mut sandbox, count).await);
    let after = counts(out(&mut sandbox, &format!("sleep 0.3; {count}")).await);
    assert_eq!(before[0], after[0]);
    assert!(before[1] < after[1]);
    // With a group that is frozen by itself.
    provider.freeze(&shared, Some("right")).await.unwrap();
    provider.destroy(&shared).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_at_its_memory_limit_dies_alone() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("hungry").await;
    let (provider, hungry) = (&world.provider, id("hungry"));
    for name in ["big", "small"] {
        let limits = GroupLimits {
            memory_bytes: Some(32 << 20),
        };
        provider.group(&hungry, name, limits).await.unwrap();
    }
    let eater = "until test -e /tmp/go; do sleep 0.01; done; head -c 200m /dev/zero | tail -c 150m | wc -c; sleep 60";
    let big = start(&mut sandbox, eater).await;
    let small = start(&mut sandbox, "sleep 60").await;
    provider.join(&hungry, "big", big).await.unwrap();
    provider.join(&hungry, "small", small).await.unwrap();
    out(&mut sandbox, "touch /tmp/go").await;
    let start = std::time::Instant::now();
    while provider
        .group_limits(&hungry, "big")
        .await
        .unwrap()
        .oom_kills
        == 0
    {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nothing was killed"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        provider.group_limits(&hungry, "small").await.unwrap(),
        Default::default()
    );
    assert!(provider.limits(&hungry).await.unwrap().oom_kills >= 1);
    provider.kill_group(&hungry, "big").await.unwrap();
    assert_ne!(run(&mut sandbox, &format!("kill -0 {big}")).await.1, 0);
    assert_eq!(run(&mut sandbox, &format!("kill -0 {small}")).await.1, 0);
    for name in ["Big", "../x", "_guest", ""] {
        let refused = provider.group(&hungry, name, GroupLimits::default()).await;
        assert!(matches!(refused, Err(ProviderError::Spec { .. })), "{name}");
    }
    provider.destroy(&hungry).await.unwrap();
    world.assert_nothing_left().await;
}

/// The kernel's word for a sandbox's limit of the processor.
fn quota(world: &World, name: &str) -> String {
    let directory = world.data.path().join("sandboxes").join(name);
    let request = fs::read_to_string(directory.join("request.json")).unwrap();
    let request: serde_json::Value = serde_json::from_str(&request).unwrap();
    let groups = request["cgroups"].as_array().unwrap().iter();
    let files = groups.flat_map(|group| {
        let group = Path::new(group.as_str().unwrap());
        ["cpu.cfs_quota_us", "cpu.max", "../cpu.max"].map(|file| group.join(file))
    });
    let text = files
        .filter_map(|file| fs::read_to_string(file).ok())
        .next();
    let text = text.expect("a limit of the processor is kept here");
    text.split_whitespace().next().unwrap().replace("max", "-1")
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_of_the_processor_can_be_lifted_for_a_while() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let sandbox = world.create("hasty").await;
    let (provider, hasty) = (&world.provider, id("hasty"));
    let usual = quota(&world, "hasty");
    let millis = spec("hasty").resources.cpu_millis;
    for (asked, told) in [
        (None, "-1".to_owned()),
        (Some(250), "250000".to_owned()),
        (Some(millis), usual),
    ] {
        provider.limit_processor(&hasty, asked).await.unwrap();
        assert_eq!(quota(&world, "hasty"), told);
    }
    provider.destroy(&hasty).await.unwrap();
    drop(sandbox);
    let absent = provider.limit_processor(&hasty, None).await;
    assert!(matches!(absent, Err(ProviderError::Absent { .. })));
    world.assert_nothing_left().await;
}

/// With swap the memory is given back and is still there afterwards; without, it says so.
#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_frozen_sandbox_is_reclaimed_where_there_is_swap() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("sleeper").await;
    let (provider, sleeper) = (&world.provider, id("sleeper"));
    // A shell's variable: memory that belongs to no file.
    let fill = r#"x=$(head -c 8m /dev/zero | tr "\0" x)"#;
    start(&mut sandbox, &format!("{fill}; touch /tmp/full; until test -e /tmp/go; do sleep 0.01; done; echo ${{#x}} > /tmp/length")).await;
    out(&mut sandbox, "until test -e /tmp/full; do sleep 0.01; done").await;
    provider.freeze(&sleeper, None).await.unwrap();
    let before = provider.footprints(&sleeper).await.unwrap().sandbox;
    let reclaimed = provider.reclaim(&sleeper).await.unwrap();
    let after = provider.footprints(&sleeper).await.unwrap().sandbox;
    eprintln!("{before:?}, {reclaimed:?}, {after:?}");
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    if has_swap {
        let Reclaimed::Bytes(bytes) = reclaimed else {
            panic!("{reclaimed:?}")
        };
        assert!(bytes > 6 << 20, "{bytes}");
        assert!(after.swap_bytes > 6 << 20, "{after:?}");
    } else {
        assert_eq!(reclaimed, Reclaimed::NoSwap);
    }
    provider.thaw(&sleeper, None).await.unwrap();
    let length = "touch /tmp/go; until test -s /tmp/length; do sleep 0.01; done; cat /tmp/length";
    assert_eq!(out(&mut sandbox, length).await, (8 << 20).to_string());
    provider.destroy(&sleeper).await.unwrap();
    world.assert_nothing_left().await;
}
