//! Freezing, groups and measuring: checks what is asked, keeps others off the sandbox in the
//! meantime, and leaves the rest to the control groups.

use std::sync::Arc;

use super::{
    blocking,
    cgroup::{Cgroups, JoinError},
    host,
    request::Request,
    shared::Shared,
};
use crate::provider::{Footprints, GroupLimits, LimitHits, ProviderError, Reclaimed, SandboxId};

/// How long one of these may take, for the error message.
const PATIENCE_SECONDS: u64 = 5;

/// Smallest limit of a group under which anything starts.
const LEAST_MEMORY: u64 = 16 << 20;

type Result<T> = std::result::Result<T, ProviderError>;

pub(super) async fn freeze(
    shared: &Arc<Shared>,
    id: &SandboxId,
    group: Option<&str>,
) -> Result<()> {
    let path = path(shared, id, group)?;
    alone(shared, id, path, |groups, path| {
        if groups.freeze(path).map_err(host("freeze the sandbox"))? {
            return Ok(());
        }
        Err(ProviderError::TimedOut {
            step: "freezing the sandbox".into(),
            seconds: PATIENCE_SECONDS,
        })
    })
    .await
}

pub(super) async fn thaw(shared: &Arc<Shared>, id: &SandboxId, group: Option<&str>) -> Result<()> {
    let path = path(shared, id, group)?;
    alone(shared, id, path, |groups, path| {
        groups.thaw(path).map_err(host("thaw the sandbox"))
    })
    .await
}

pub(super) async fn reclaim(shared: &Arc<Shared>, id: &SandboxId) -> Result<Reclaimed> {
    let path = path(shared, id, None)?;
    alone(shared, id, path, |groups, path| {
        groups
            .reclaim(path)
            .map_err(host("reclaim the sandbox's memory"))
    })
    .await
}

pub(super) async fn yield_to_others(
    shared: &Arc<Shared>,
    id: &SandboxId,
    yields: bool,
) -> Result<()> {
    let path = path(shared, id, None)?;
    alone(shared, id, path, move |groups, path| {
        groups
            .yield_to_others(path, yields)
            .map_err(host("change the sandbox's share of the processor"))
    })
    .await
}

pub(super) async fn limit_processor(
    shared: &Arc<Shared>,
    id: &SandboxId,
    millis: Option<u32>,
) -> Result<()> {
    let path = path(shared, id, None)?;
    alone(shared, id, path, move |groups, path| {
        groups
            .limit_processor(path, millis)
            .map_err(host("change the sandbox's limit of the processor"))
    })
    .await
}

pub(super) fn footprints(shared: &Shared, id: &SandboxId) -> Result<Footprints> {
    let groups = cgroups(shared, "measured from outside")?;
    let (sandbox, groups) = groups
        .footprints(id.as_str())
        .ok_or_else(|| ProviderError::Absent { id: id.clone() })?;
    Ok(Footprints { sandbox, groups })
}

pub(super) async fn make(
    shared: &Arc<Shared>,
    id: &SandboxId,
    name: &str,
    limits: GroupLimits,
) -> Result<()> {
    if made_with_own_kernel(shared, id) {
        return Err(ProviderError::Unable {
            what: "divided into groups".into(),
            reason: "the processes in it are unknown to the host's kernel".into(),
        });
    }
    if limits
        .memory_bytes
        .is_some_and(|bytes| bytes < LEAST_MEMORY)
    {
        return Err(ProviderError::Spec {
            field: "group's memory limit".into(),
            reason: format!("at least {LEAST_MEMORY} bytes are needed"),
        });
    }
    let whole = path(shared, id, None)?;
    let group = group_path(id, name)?;
    alone(shared, id, whole, move |groups, _| {
        groups
            .make_group(&group, limits)
            .map_err(host("make a group in the sandbox"))
    })
    .await
}

pub(super) async fn join(shared: &Arc<Shared>, id: &SandboxId, name: &str, pid: u32) -> Result<()> {
    let path = path(shared, id, Some(name))?;
    let sandbox = id.clone();
    alone(shared, id, path, move |groups, path| {
        groups
            .join(sandbox.as_str(), path, pid)
            .map_err(|error| match error {
                JoinError::NoProcess => ProviderError::NoProcess { id: sandbox, pid },
                JoinError::Host(source) => host("move a process into its group")(source),
            })
    })
    .await
}

pub(super) fn limits(shared: &Shared, id: &SandboxId, name: &str) -> Result<LimitHits> {
    let path = path(shared, id, Some(name))?;
    let hits = cgroups(shared, "divided into groups")?.group_hits(&path);
    hits.ok_or_else(|| no_group(id, name))
}

pub(super) async fn kill(shared: &Arc<Shared>, id: &SandboxId, name: &str) -> Result<()> {
    let whole = path(shared, id, None)?;
    let group = group_path(id, name)?;
    alone(shared, id, whole, move |groups, _| {
        match groups.kill_group(&group) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ProviderError::TimedOut {
                step: "ending the group's processes".into(),
                seconds: PATIENCE_SECONDS,
            }),
            Err(error) => Err(host("remove the group")(error)),
        }
    })
    .await
}

/// Works on the group at `path` when nobody else makes, changes or destroys its sandbox.
async fn alone<T: Send + 'static>(
    shared: &Arc<Shared>,
    id: &SandboxId,
    path: String,
    work: impl FnOnce(&Cgroups, &str) -> Result<T> + Send + 'static,
) -> Result<T> {
    let hold = shared.lock(id).await;
    // The helper lives in the sandbox's groups until its end: frozen, it would never come to it.
    shared.helper_gone(id).await;
    let (shared, id) = (shared.clone(), id.clone());
    blocking(move || {
        // Kept until the work is done, even if nobody waits for it any more.
        let _hold = hold;
        let groups = cgroups(&shared, "frozen or divided into groups")?;
        if !groups.exists(&path) {
            return Err(ProviderError::Absent { id });
        }
        work(groups, &path)
    })
    .await
}

fn cgroups<'a>(shared: &'a Shared, what: &'static str) -> Result<&'a Cgroups> {
    shared.cgroups.as_ref().ok_or(ProviderError::Unable {
        what: what.into(),
        reason: "the server may not make control groups".into(),
    })
}

/// Where a sandbox or a group in it is, if it exists.
fn path(shared: &Shared, id: &SandboxId, group: Option<&str>) -> Result<String> {
    let groups = cgroups(shared, "frozen or divided into groups")?;
    if !groups.exists(id.as_str()) {
        return Err(ProviderError::Absent { id: id.clone() });
    }
    let Some(name) = group else {
        return Ok(id.to_string());
    };
    let path = group_path(id, name)?;
    if groups.exists(&path) {
        return Ok(path);
    }
    Err(no_group(id, name))
}

/// Whether the sandbox has a kernel of its own, by its record.
fn made_with_own_kernel(shared: &Shared, id: &SandboxId) -> bool {
    let request = std::fs::read(shared.directory(id).join("request.json")).ok();
    let request = request.and_then(|text| serde_json::from_slice::<Request>(&text).ok());
    request.is_some_and(|request| request.maker.own_kernel())
}

fn group_path(id: &SandboxId, name: &str) -> Result<String> {
    // A name that could mean another place is refused as one of a sandbox would be.
    match name.parse::<SandboxId>() {
        Ok(name) => Ok(format!("{id}/{name}")),
        Err(error) => Err(ProviderError::Spec {
            field: "group's name".into(),
            reason: error.to_string(),
        }),
    }
}

fn no_group(id: &SandboxId, name: &str) -> ProviderError {
    ProviderError::NoGroup {
        id: id.clone(),
        name: name.to_owned(),
    }
}
