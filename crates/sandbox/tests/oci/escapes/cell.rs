//! A sandbox from which somebody tries to get out, and its neighbour who must not notice.

use std::time::Duration;

use sandbox::{
    LimitHits, Resources, Sandbox, Spec,
    guest_channel::{Exit, GUEST, Guest, Incoming, Output, Process, ProcessSpec},
};
use tokio::time::timeout;

use super::host::Host;
use crate::world::{World, chain, id, spec};

/// No attempt needs a tenth of this on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cell {
    pub world: World,
    pub guest: Guest,
    neighbour: Guest,
    /// Something that runs there, and is still there at the end.
    witness: Process,
    _incoming: [Incoming; 2],
}

/// What came of a program.
#[derive(Debug)]
pub struct Done {
    pub text: String,
    pub exit: Exit,
}

impl Cell {
    /// None, with a printed reason, where this machine does not have the level.
    pub async fn new(level: &str) -> Option<Self> {
        let runtime = match level {
            "process" => "none",
            "container" => "embedded",
            _ => "runsc",
        };
        let world = World::with_guest(runtime, GUEST).await?;
        let (guest, one) = connect(&world, &wanted("cell")).await;
        let (neighbour, two) = connect(&world, &wanted("neighbour")).await;
        let plant = "echo kept > /workspace/witness; exec -a witness-4711 sleep 1000";
        let witness = neighbour.spawn(program(&["/bin/bash", "-c", plant])).await;
        Some(Self {
            world,
            guest,
            neighbour,
            witness: witness.unwrap(),
            _incoming: [one, two],
        })
    }

    /// Runs a program to its end.
    pub async fn run(&self, argv: &[&str]) -> Done {
        run(&self.guest, argv).await
    }

    /// Whether the sandbox still does what it is told.
    pub async fn answers(&self) -> bool {
        let asked = self.guest.spawn(program(&["/bin/true"]));
        matches!(timeout(PATIENCE, asked).await, Ok(Ok(_)))
    }

    /// What the kernel has counted.
    pub async fn hits(&self) -> LimitHits {
        self.world.provider.limits(&id("cell")).await.unwrap()
    }

    /// Checks that nobody outside has noticed, and that nothing is left.
    pub async fn end(self, before: &Host) {
        let look = format!(
            "cat /workspace/witness; kill -0 {} && echo lives",
            self.witness.pid()
        );
        let seen = run(&self.neighbour, &["/bin/sh", "-c", &look]).await;
        assert_eq!(seen.text.trim(), "kept\nlives");
        assert_eq!(
            self.world.provider.limits(&id("neighbour")).await.unwrap(),
            LimitHits::default()
        );
        for name in ["cell", "neighbour"] {
            self.world.provider.destroy(&id(name)).await.unwrap();
        }
        self.world.assert_nothing_left().await;
        before.assert_unchanged();
    }
}

fn wanted(name: &str) -> Spec {
    Spec {
        resources: Resources {
            memory_bytes: 384 << 20,
            disk_bytes: 64 << 20,
            pids: 200,
            cpu_millis: 1000,
        },
        ..spec(name)
    }
}

pub async fn connect(world: &World, spec: &Spec) -> (Guest, Incoming) {
    let made = world.provider.create(spec).await;
    let Sandbox { stream, .. } = made.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let connected = timeout(PATIENCE, Guest::connect(stream)).await.unwrap();
    connected.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// As a session starts programs: a few variables, the workspace, no terminal.
pub fn program(argv: &[&str]) -> ProcessSpec {
    ProcessSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: vec![
            (
                "PATH".into(),
                "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
            ),
            ("HOME".into(), "/home/agent".into()),
        ],
        cwd: "/workspace".into(),
        terminal: None,
        user: None,
    }
}

pub async fn run(guest: &Guest, argv: &[&str]) -> Done {
    let ran = async {
        let process = guest.spawn(program(argv)).await.unwrap();
        let (input, mut output) = process.split();
        input.close_stdin().await.unwrap();
        let mut done = Done {
            text: String::new(),
            exit: Exit::default(),
        };
        while let Some(piece) = output.next().await.unwrap() {
            match piece {
                Output::Stdout(bytes) | Output::Stderr(bytes) => {
                    done.text.push_str(&String::from_utf8_lossy(&bytes));
                }
                Output::Exit(exit) => done.exit = exit,
            }
        }
        done
    };
    let ran = timeout(PATIENCE, ran).await;
    ran.unwrap_or_else(|_| panic!("this does not end: {argv:?}"))
}
