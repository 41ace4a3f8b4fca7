//! A `hostel serve` process: started, asked to stop, killed, started again on the same directory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::process::Process;
use crate::wait::soon;

/// What passes from this process's environment to the server's: where programs are, and, for a run of
/// all tests with a server that stays root (`root`) or is somebody else, who it is.
const PASSED: [&str; 3] = ["PATH", "LANG", "HOSTEL_SERVER_USER"];

/// The binary under test: `HOSTEL_BIN`, or the one next to this test's own executable.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    let built = || {
        let test = std::env::current_exe().unwrap();
        // target/<profile>/deps/<test>
        test.parent().and_then(Path::parent).unwrap().join("hostel")
    };
    let path = std::env::var_os("HOSTEL_BIN").map_or_else(built, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo build --package cli` first",
        path.display()
    );
    path
}

/// How to start one.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Arguments after `serve`.
    pub arguments: Vec<OsString>,
    /// The environment, beyond where programs are.
    pub variables: Vec<(String, String)>,
    /// A program and its arguments that start the server, for example as another user.
    pub wrapper: Vec<String>,
    /// Where its log goes; appended to.
    pub log: PathBuf,
}

/// One that is ready.
pub struct Server {
    /// Where it serves.
    pub url: String,
    /// It.
    pub process: Process,
    child: Child,
}

/// One that ended before it was ready.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to its log.
    pub log: String,
}

impl Server {
    /// Starts one and waits until it is ready, or has ended instead.
    ///
    /// # Errors
    /// When it ended.
    pub async fn start(how: &Recipe) -> Result<Server, Refused> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&how.log)
            .unwrap();
        let before = log.metadata().unwrap().len();
        let mut words = how.wrapper.iter().map(OsString::from).collect::<Vec<_>>();
        words.push(binary().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve").args(&how.arguments);
        command.env_clear().envs(how.variables.iter().cloned());
        command.envs(
            PASSED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(url) = line.strip_prefix("hostel is ready on ") {
                    return Some(url.to_owned());
                }
            }
            None
        };
        if let Some(url) = soon("a server that is ready", ready).await {
            let process = Process::of(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
            return Ok(Server {
                url,
                process,
                child,
            });
        }
        let status = soon("the end of a server", child.wait()).await.unwrap();
        let log = fs::read(&how.log).unwrap();
        let log = String::from_utf8_lossy(&log[usize::try_from(before).unwrap()..]).into_owned();
        Err(Refused { status, log })
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        let _ = kill(Pid::from_raw(self.process.pid), Signal::SIGTERM);
        soon(
            "the end of a server that was asked to stop",
            self.child.wait(),
        )
        .await
        .unwrap()
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = soon("the end of a server", self.child.wait());
        ended.await.unwrap()
    }

    /// kill -9.
    pub async fn crash(mut self) {
        self.process.kill();
        let _ = soon("the end of a killed server", self.child.wait()).await;
    }

    /// Ends it from a place that cannot wait.
    pub fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.process.pid), Signal::SIGTERM);
        let started = std::time::Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if started.elapsed() > std::time::Duration::from_secs(20) {
                return self.process.kill();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
