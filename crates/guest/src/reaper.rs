//! Reaps every process that ends below process 1.
//!
//! Its children are supervisors. Anything else that turns up is an orphan whose supervisor was
//! killed from inside, and orphans are killed: no process may outlive the one it belongs to.

use std::{cell::RefCell, collections::HashMap, io, rc::Rc, time::Duration};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::procfs;

/// How long a supervisor that was told to kill may take. One that a process inside keeps from
/// working, by stopping it again and again, is killed then, and what was below it swept.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells whoever started a supervisor when it has ended.
pub struct Reaper {
    supervisors: RefCell<HashMap<i32, oneshot::Sender<()>>>,
    task: RefCell<Option<JoinHandle<()>>>,
}

/// A supervisor that was started.
pub struct Supervisor(Pid);

impl Supervisor {
    /// Whether a process is one that it started, or has ended.
    pub fn may_have_started(&self, pid: i32) -> bool {
        procfs::parent(pid).is_none_or(|parent| parent == self.0.as_raw())
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }
}

impl Reaper {
    /// Starts reaping. Must be called before the first process is started.
    pub fn start() -> io::Result<Rc<Self>> {
        let mut children = signal(SignalKind::child())?;
        let reaper = Rc::new(Self {
            supervisors: RefCell::default(),
            task: RefCell::new(None),
        });
        let weak = Rc::downgrade(&reaper);
        let task = tokio::task::spawn_local(async move {
            while children.recv().await.is_some() {
                let Some(reaper) = weak.upgrade() else { return };
                reaper.reap();
            }
        });
        reaper.task.replace(Some(task));
        Ok(reaper)
    }

    /// Registers a supervisor. Must be called before the next await after starting it, so that
    /// its end cannot be missed.
    pub fn expect(&self, pid: u32) -> (Supervisor, oneshot::Receiver<()>) {
        let (ended, end) = oneshot::channel();
        self.supervisors
            .borrow_mut()
            .insert(pid.cast_signed(), ended);
        (Supervisor(Pid::from_raw(pid.cast_signed())), end)
    }

    /// Makes a supervisor that somebody has stopped go on.
    pub fn wake(&self, supervisor: &Supervisor) {
        self.signal(supervisor, Signal::SIGCONT);
    }

    /// Kills a supervisor; what was below it is swept when it is reaped.
    pub fn kill(&self, supervisor: &Supervisor) {
        self.signal(supervisor, Signal::SIGKILL);
    }

    /// Does nothing once it has been reaped: its id may be another's then.
    fn signal(&self, supervisor: &Supervisor, signal: Signal) {
        let running = self.supervisors.borrow();
        if running.contains_key(&supervisor.0.as_raw()) {
            let _ = kill(supervisor.0, signal);
        }
    }

    /// Waits for the end of a supervisor that was told to kill, and makes sure of it.
    pub async fn see_off(&self, supervisor: &Supervisor, gone: &mut oneshot::Receiver<()>) {
        self.wake(supervisor);
        if timeout(PATIENCE, &mut *gone).await.is_err() {
            self.kill(supervisor);
        }
    }

    /// Kills everything that process 1 has inherited from supervisors that are gone.
    fn sweep(&self) {
        let me = std::process::id().cast_signed();
        let processes = procfs::processes();
        let supervisors = self.supervisors.borrow();
        let strays = processes
            .iter()
            .filter(|entry| entry.parent == me && !supervisors.contains_key(&entry.pid));
        for stray in strays {
            for pid in procfs::descendants(stray.pid, &processes) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = kill(Pid::from_raw(stray.pid), Signal::SIGKILL);
        }
    }

    fn reap(&self) {
        let mut strays = false;
        loop {
            let (pid, in_order) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code == 0),
                Ok(WaitStatus::Signaled(pid, ..)) => (pid.as_raw(), false),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => break,
            };
            match self.supervisors.borrow_mut().remove(&pid) {
                // Nobody listens any more when the host has dropped the process.
                Some(ended) => drop(ended.send(())),
                None => strays = true,
            }
            strays |= !in_order;
        }
        if strays {
            // The children of a stray, or of a supervisor that was killed, came to us at the
            // moment it died.
            self.sweep();
        }
    }
}
