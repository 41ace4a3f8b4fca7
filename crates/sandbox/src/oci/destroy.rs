//! Finds sandboxes and removes them, whatever state they were left in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{blocking, host, names, process, request::Made, runtime, shared::Shared};
use crate::provider::{Observed, Phase, ProviderError, SandboxId};

/// How long killed processes and their mounts may take to go: milliseconds, unless one hangs
/// in the kernel.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often we look in the meantime; a sandbox is usually gone after the third look.
const LOOK: Duration = Duration::from_millis(1);

/// Removes a sandbox when nobody else works on it.
pub(super) async fn destroy(shared: &Arc<Shared>, id: &SandboxId) -> Result<(), ProviderError> {
    let _hold = shared.lock(id).await;
    destroy_held(shared, id).await
}

/// The same, for who holds its lock already.
pub(super) async fn destroy_held(
    shared: &Arc<Shared>,
    id: &SandboxId,
) -> Result<(), ProviderError> {
    // Until the helper is gone the container is its child, and cannot be reaped by us.
    let _ = tokio::time::timeout(PATIENCE, shared.helper_gone(id)).await;
    let (shared, id) = (shared.clone(), id.clone());
    blocking(move || remove(&shared, &id)).await
}

/// All that exists in any form.
pub(super) fn list(shared: &Shared) -> Result<Vec<Observed>, ProviderError> {
    let mut found = names(&shared.sandboxes());
    found.extend(shared.cgroups.iter().flat_map(|groups| groups.ids()));
    for (_, state) in shared.runtimes() {
        found.extend(runtime::traces(state).into_iter().map(|(id, _)| id));
    }
    found.sort();
    found.dedup();
    let observe = |id: SandboxId| {
        let phase = match record(&shared.directory(&id)) {
            None => Phase::HalfMade,
            Some(made) if process::lives(made) => Phase::Running,
            Some(_) => Phase::Dead,
        };
        Observed { id, phase }
    };
    Ok(found
        .into_iter()
        .filter_map(|name| name.parse().ok())
        .map(observe)
        .collect())
}

/// Kills, waits, reaps, and removes groups and files, in this order, so that what is left
/// after an interruption still says what it belongs to.
pub(super) fn remove(shared: &Shared, id: &SandboxId) -> Result<(), ProviderError> {
    let directory = shared.directory(id);
    let deadline = Instant::now() + PATIENCE;
    end_processes(shared, id, &directory, deadline)?;
    if let Some(groups) = &shared.cgroups {
        groups
            .remove(id.as_str())
            .map_err(host("remove control groups"))?;
    }
    let image = directory.join("disk.img");
    if image.exists() {
        wait(deadline, "letting go of the disk", || !attached(&image))?;
    }
    for (_, state) in shared.runtimes() {
        for trace in traces(state, id) {
            let removed = if trace.is_dir() {
                fs::remove_dir_all(trace)
            } else {
                fs::remove_file(trace)
            };
            absent_is_fine(removed, "remove the runtime's state")?;
        }
    }
    absent_is_fine(
        fs::remove_dir_all(&directory),
        "remove the sandbox's directory",
    )?;
    shared.table().release(id);
    Ok(())
}

fn end_processes(
    shared: &Shared,
    id: &SandboxId,
    directory: &Path,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let made = record(directory);
    let half_made = made.is_none() && directory.exists();
    wait(deadline, "ending the sandbox's processes", || {
        let mut quiet = true;
        if let Some(made) = made {
            process::kill(made);
            quiet &= process::gone(made);
        }
        if half_made {
            for pid in process::naming(directory) {
                process::kill_number(pid);
                quiet = false;
            }
            process::reap_adopted(&shared.table().pids());
        }
        quiet
            & shared
                .cgroups
                .as_ref()
                .is_none_or(|groups| groups.kill(id.as_str()))
    })?;
    // A runtime may keep more than processes: it cleans up after what we have just ended.
    for (path, state) in shared.runtimes() {
        if !traces(state, id).is_empty() {
            runtime::forget(path, state, id.as_str());
        }
    }
    if half_made {
        process::reap_adopted(&shared.table().pids());
    }
    Ok(())
}

/// What the runtime keeps about one sandbox.
fn traces(state: &Path, id: &SandboxId) -> Vec<PathBuf> {
    let all = runtime::traces(state).into_iter();
    all.filter(|(of, _)| of == id.as_str())
        .map(|(_, trace)| trace)
        .collect()
}

fn record(directory: &Path) -> Option<Made> {
    serde_json::from_slice(&fs::read(directory.join("made.json")).ok()?).ok()
}

/// Whether a loop device still holds the image: the kernel unmounts a dead sandbox's disk a
/// moment after its last process is gone.
fn attached(image: &Path) -> bool {
    let loops = names(Path::new("/sys/block"))
        .into_iter()
        .filter(|name| name.starts_with("loop"));
    let files = loops.map(|name| format!("/sys/block/{name}/loop/backing_file"));
    files
        .filter_map(|file| fs::read_to_string(file).ok())
        .any(|path| Path::new(path.trim_end()) == image)
}

fn wait(
    deadline: Instant,
    step: &'static str,
    mut done: impl FnMut() -> bool,
) -> Result<(), ProviderError> {
    while !done() {
        if Instant::now() > deadline {
            return Err(ProviderError::TimedOut {
                step: step.into(),
                seconds: PATIENCE.as_secs(),
            });
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn absent_is_fine(outcome: io::Result<()>, step: &str) -> Result<(), ProviderError> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(host(step)(error)),
        _ => Ok(()),
    }
}
