//! The isolation ladder: one provider gives each sandbox the level that it asks for, or refuses.
use crate::world::{World, chain, id, spec, until};
use sandbox::{
    Isolation, ProviderError,
    guest_channel::{GUEST, Guest},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_level_is_given_side_by_side_and_said() {
    let Some(world) = World::with_guest("embedded", GUEST).await else {
        return;
    };
    let levels = world.provider.abilities().levels;
    assert_eq!(levels.usual, Isolation::Container);
    let mut made = Vec::new();
    for level in Isolation::ALL {
        if let Some(reason) = levels.absent.get(&level) {
            eprintln!("skipped: {level}: {reason}");
            continue;
        }
        // More than was asked for is given, never less.
        let least = Some(level).filter(|level| *level > levels.usual);
        let mut wanted = spec(level.as_str());
        wanted.isolation = least;
        let sandbox = world.provider.create(&wanted).await;
        let sandbox = sandbox.unwrap_or_else(|error| panic!("{level}: {}", chain(&error)));
        assert_eq!(sandbox.description.isolation, level.max(levels.usual));
        let (guest, incoming) = Guest::connect(sandbox.stream).await.unwrap();
        assert_eq!(guest.hello().uid, 1000, "{level}");
        made.push((wanted.id, guest, incoming));
    }
    assert_eq!(world.provider.list().await.unwrap().len(), made.len());
    for (id, guest, _) in &made {
        assert!(guest.stats().await.is_ok(), "{id}");
        world.provider.destroy(id).await.unwrap();
    }
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_cannot_be_had_is_refused_and_leaves_nothing() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let levels = world.provider.abilities().levels;
    let Some(reason) = levels.absent.get(&Isolation::Gvisor) else {
        eprintln!("skipped: this host has every level");
        return;
    };
    let mut wanted = spec("strict");
    wanted.isolation = Some(Isolation::Gvisor);
    match world.provider.create(&wanted).await {
        Err(ProviderError::Isolation(refused)) => assert_eq!(
            refused.to_string(),
            format!("isolation of at least `gvisor` cannot be had on this host: {reason}")
        ),
        Err(other) => panic!("{}", chain(&other)),
        Ok(_) => panic!("it was made"),
    }
    world.provider.destroy(&id("strict")).await.unwrap();
    world.assert_nothing_left().await;
}

/// A server without an OCI runtime has one for whoever asks for a container.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_made_where_processes_are_usual() {
    let Some(world) = World::with_guest("none", GUEST).await else {
        return;
    };
    assert_eq!(world.provider.abilities().levels.usual, Isolation::Process);
    for (least, given) in [
        (None, Isolation::Process),
        (Some(Isolation::Process), Isolation::Process),
        (Some(Isolation::Container), Isolation::Container),
    ] {
        let mut wanted = spec("asks");
        wanted.isolation = least;
        let sandbox = world.provider.create(&wanted).await;
        let sandbox = sandbox.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(sandbox.description.isolation, given);
        let (guest, _incoming) = Guest::connect(sandbox.stream).await.unwrap();
        assert!(guest.stats().await.is_ok());
        world.provider.destroy(&wanted.id).await.unwrap();
    }
    world.assert_nothing_left().await;
}

/// A server that is killed lets go of its links, and the kernel ends the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_ends_with_its_link_at_every_level() {
    for runtime in ["none", "embedded", "runsc"] {
        let Some(world) = World::with_guest(runtime, GUEST).await else {
            continue;
        };
        let made = world.provider.create(&spec("bound")).await;
        let made = made.unwrap_or_else(|error| panic!("{runtime}: {}", chain(&error)));
        let (guest, incoming) = Guest::connect(made.stream).await.unwrap();
        assert!(guest.stats().await.is_ok());
        let pid = world.pid("bound");
        guest.close();
        drop((guest, incoming));
        until("the end of the sandbox", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        })
        .await;
        world.provider.destroy(&id("bound")).await.unwrap();
        world.assert_nothing_left().await;
    }
}
