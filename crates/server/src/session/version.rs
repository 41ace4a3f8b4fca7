//! Which version of the claude CLI a session gets: what its agent and its environment ask for must
//! both fit; where neither asks, the settings decide.
//!
//! A process that runs keeps its version. This is asked again whenever one is started.

use claude::versions::{Installed, ResolveError, Wanted};
use semver::VersionReq;
use serde::Deserialize;

use super::{Inner, Sessions};

impl Inner {
    /// The version for a process that is started now.
    pub(super) fn version(
        &self,
        agent: Option<&VersionReq>,
        environment: Option<&VersionReq>,
    ) -> Result<Installed, ResolveError> {
        self.versions.resolve(Wanted {
            agent,
            environment,
            settings: self.settings.cli.as_ref(),
        })
    }
}

impl Sessions {
    /// Whether an agent and an environment that both ask for a version can be had together. Before
    /// anything is installed nobody knows.
    ///
    /// # Errors
    /// When no version that is there fits both.
    pub fn check_version(
        &self,
        agent: Option<&VersionReq>,
        environment: Option<&VersionReq>,
    ) -> Result<(), ResolveError> {
        match self.0.version(agent, environment) {
            Err(error @ ResolveError::NoneFits { .. }) if agent.and(environment).is_some() => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// What the snapshot of an agent asks for.
pub(super) fn asked(agent: &str) -> Option<VersionReq> {
    #[derive(Deserialize)]
    struct Asking {
        cli: Option<VersionReq>,
    }
    let asking = serde_json::from_str::<Asking>(agent).ok();
    asking.and_then(|asking| asking.cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_an_older_server_asks_for_nothing() {
        assert_eq!(asked(r#"{"name": "a"}"#), None);
        assert_eq!(asked(r#"{"cli": null}"#), None);
        let asked = asked(r#"{"name": "a", "cli": "^2.1"}"#);
        assert_eq!(asked.unwrap().to_string(), "^2.1");
    }
}
