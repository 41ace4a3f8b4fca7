//! What a question to the store may see: one workspace, or one environment of it.
//!
//! Whatever serves callers takes a [`Realm`], so that a question without one does not compile, and what
//! lies outside of it is found as little as what does not exist.

/// A workspace, or one of its environments with the sessions in it. Agents belong to the workspace:
/// a realm of one environment sees all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Realm {
    workspace: String,
    environment: Option<String>,
}

impl Realm {
    /// A whole workspace.
    #[must_use]
    pub fn of(workspace: impl Into<String>) -> Realm {
        Realm {
            workspace: workspace.into(),
            environment: None,
        }
    }

    /// The same workspace, and of its environments only this one.
    #[must_use]
    pub fn within(self, environment: Option<String>) -> Realm {
        Realm {
            environment,
            ..self
        }
    }

    /// The workspace's id.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The only environment that is seen; `None` is all.
    #[must_use]
    pub fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }
}
