//! What a session's sandbox and claude are made of, as far as it is the same for all sessions of its
//! environment and agent: the classes of spares.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::environment::hosting::Hosting;
use claude::launch::Session;
use serde_json::Value;
use store::SessionRow;

use super::fleet::{self, Class, Plan};
use super::tools::Tools;
use super::{Inner, isolation, start, uuid_of, version};

/// How a session's claude is limited from outside its agent.
pub fn limits(inner: &Inner, hosting: &Hosting) -> start::Limits {
    let settings = inner.settings.launch;
    start::Limits {
        max_turns: hosting.limits.max_turns.or(settings.max_turns),
        own_work: hosting.pattern.shares(),
        ..settings
    }
}

/// What a session's sandbox is made of.
pub fn plan(inner: &Inner, row: &SessionRow, hosting: &Hosting, cli: PathBuf) -> Plan {
    let (wanted, server) = (&hosting.resources, inner.settings.resources);
    Plan {
        workspace: row.workspace_id.as_str().into(),
        rootfs: inner.settings.rootfs.clone(),
        resources: sandbox::Resources {
            memory_bytes: wanted.memory.unwrap_or(server.memory_bytes),
            cpu_millis: wanted.cpu.map_or(server.cpu_millis, |cpu| cpu.0),
            pids: wanted.pids.unwrap_or(server.pids),
            disk_bytes: wanted.disk.unwrap_or(server.disk_bytes),
        },
        cli,
        members: hosting.has_company(),
        isolation: hosting.isolation.at_least.map(isolation::least),
    }
}

/// The class of spares that a new session like this one could take; `None` when its environment keeps
/// none, or the session has credentials of its own, which a claude that runs cannot be given.
pub fn of(inner: &Inner, row: &SessionRow, hosting: &Hosting, cli: &Path) -> Option<Class> {
    if hosting.pool.max == 0 || hosting.has_company() || row.vault_ids != "[]" {
        return None;
    }
    let agent: Value = serde_json::from_str(&row.agent).unwrap_or_default();
    let tools = Tools::of(&agent);
    let session = Session::New(String::new());
    Some(Class {
        owner: format!("{}/{}", row.environment_id, row.agent_id),
        name: uuid_of(&format!(
            "{} {} {}",
            row.agent,
            row.environment,
            cli.display()
        )),
        plan: plan(inner, row, hosting, cli.to_owned()),
        launch: start::launch(&agent, &tools, session, limits(inner, hosting)),
        custom: start::custom(&tools),
        pool: hosting.pool,
        first_word: inner.settings.start_timeout,
    })
}

/// Begins to keep spares for those who had sessions lately, so that the first session after a restart
/// finds one. What has changed since is another class, which the next session says.
pub async fn remember(inner: &Arc<Inner>) {
    let most = u32::try_from(fleet::CLASSES).unwrap_or(u32::MAX);
    let rows = match inner.store.sessions().latest_with_pool(most).await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "pools are filled when their next session comes: the sessions cannot be read"
            );
            return;
        }
    };
    for row in rows {
        let hosting = start::hosting(&row);
        let asked = version::asked(&row.agent);
        // One for which no CLI is installed says so to its next session.
        let Ok(cli) = inner.version(asked.as_ref(), hosting.cli.as_ref()) else {
            continue;
        };
        if let Some(class) = of(inner, &row, &hosting, &cli.path) {
            inner.fleet.keep(class);
        }
    }
}
