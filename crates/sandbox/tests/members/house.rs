//! The fixture: one sandbox, and members that move into it.

use std::{path::PathBuf, time::Duration};

use sandbox::{
    DiskLimit, MEMBER_IDS, MEMBERS_GROUP, Mount, Provider, Resources, Rootfs, Spec,
    guest_channel::{
        Exit, GUEST, Guest, Incoming, Output, Process, ProcessInput, ProcessOutput, ProcessSpec,
        User,
    },
    oci::{Config, Oci, RuntimeChoice},
};
use tempfile::TempDir;
use tokio::time::timeout;

/// No test needs a tenth of this on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox for several members.
pub struct House {
    pub guest: Guest,
    pub incoming: Incoming,
    pub provider: Oci,
    pub spec: Spec,
    _data: TempDir,
}

/// One of them, with a home directory.
#[derive(Clone)]
pub struct Member {
    pub user: User,
    pub home: String,
}

/// What came out of a process.
#[derive(Debug)]
pub struct Done {
    pub text: String,
    pub complaint: String,
    pub exit: Exit,
}

impl House {
    /// None, with a printed reason, when this host cannot do it.
    pub async fn new() -> Option<Self> {
        Self::with("embedded", None).await
    }

    /// With this runtime, and its disk kept this way.
    pub async fn with(runtime: &str, disk: Option<DiskLimit>) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: users of a sandbox need root outside");
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::new(
            data.path().to_owned(),
            PathBuf::from(env!("CARGO_BIN_EXE_sandbox-helper")),
            GUEST,
        );
        config.disk = disk;
        if runtime == "none" {
            config.runtime = RuntimeChoice::None;
        } else if runtime != "embedded" {
            let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
            if !places.iter().any(|place| place.join(runtime).exists()) {
                eprintln!("skipped: {runtime} is not installed");
                return None;
            }
            config.runtime = RuntimeChoice::Named(runtime.to_owned());
        }
        let provider = Oci::probe(config).await.unwrap();
        let claude = std::env::var_os("HOSTEL_TEST_CLAUDE").map(|claude| Mount {
            source: claude.into(),
            target: "/opt/hostel/claude".into(),
        });
        let spec = Spec {
            id: "house".parse().unwrap(),
            rootfs: Rootfs::Host,
            resources: Resources {
                disk_bytes: 64 << 20,
                ..Resources::default()
            },
            read_only: claude.into_iter().collect(),
            trusted: None,
            hostname: "house".to_owned(),
            members: true,
            isolation: None,
        };
        let made = provider.create(&spec).await.unwrap();
        let (guest, incoming) = soon(Guest::connect(made.stream)).await.unwrap();
        Some(Self {
            guest,
            incoming,
            provider,
            spec,
            _data: data,
        })
    }

    /// A new member with a home of its own.
    pub async fn member(&self, number: u32) -> Member {
        let id = MEMBER_IDS.start + number;
        let member = Member {
            user: User {
                uid: id,
                gid: id,
                groups: vec![MEMBERS_GROUP],
            },
            home: format!("/home/m{number}"),
        };
        soon(
            self.guest
                .make_dir(&member.home, 0o700, Some(member.user.clone())),
        )
        .await
        .unwrap();
        member
    }

    pub async fn spawn(&self, member: &Member, script: &str) -> Process {
        soon(self.guest.spawn(member.sh(script))).await.unwrap()
    }

    /// Runs a shell script to its end.
    pub async fn sh(&self, member: &Member, script: &str) -> Done {
        let (input, output) = self.spawn(member, script).await.split();
        soon(input.close_stdin()).await.unwrap();
        drain(output).await
    }

    /// What a script prints; it must end well.
    pub async fn out(&self, member: &Member, script: &str) -> String {
        let done = self.sh(member, script).await;
        assert!(done.exit.success(), "{script}: {done:?}");
        done.text
    }

    /// A process that goes on, once it has said "ready".
    pub async fn ready(&self, member: &Member, script: &str) -> (ProcessInput, ProcessOutput, u32) {
        let process = self.spawn(member, script).await;
        let pid = process.pid();
        let (input, mut output) = process.split();
        let mut seen = String::new();
        while !seen.contains("ready") {
            match soon(output.next()).await.unwrap() {
                Some(Output::Stdout(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} before it was ready, after {seen:?}"),
            }
        }
        (input, output, pid)
    }

    pub async fn leave(self) {
        self.provider.destroy(&self.spec.id).await.unwrap();
        assert_eq!(self.provider.list().await.unwrap(), []);
    }
}

impl Member {
    pub fn sh(&self, script: &str) -> ProcessSpec {
        ProcessSpec {
            argv: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(),
            env: vec![
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("HOME".into(), self.home.clone()),
                ("SECRET".into(), format!("secret-of-{}", self.user.uid)),
            ],
            cwd: self.home.clone(),
            terminal: None,
            user: Some(self.user.clone()),
        }
    }
}

/// Takes everything to the end.
pub async fn drain(mut output: ProcessOutput) -> Done {
    let (mut stdout, mut stderr, mut ended) = (Vec::new(), Vec::new(), Exit::default());
    while let Some(piece) = soon(output.next()).await.unwrap() {
        match piece {
            Output::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            Output::Exit(exit) => ended = exit,
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Done {
        text: text(&stdout),
        complaint: text(&stderr),
        exit: ended,
    }
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let waited = timeout(PATIENCE, future).await;
    waited.expect("within the time that every test has")
}
