//! Which level of isolation a session's sandbox has.

use ::sandbox::{Isolation, TooWeak};
use api::environment::hosting::{self, Level};

use super::Sessions;

impl Sessions {
    /// The level that a sandbox of such an environment has on this server. While a sandbox lives
    /// this is what it has, because no sandbox outlives its server.
    ///
    /// # Errors
    /// When this host has no level that would do.
    pub fn isolation(&self, wanted: hosting::Isolation) -> Result<Level, TooWeak> {
        let levels = self.0.fleet.provider().abilities().levels;
        levels.at_least(wanted.at_least.map(least)).map(level)
    }
}

/// What is asked of the provider.
pub(super) fn least(level: Level) -> Isolation {
    match level {
        Level::Process => Isolation::Process,
        Level::Container => Isolation::Container,
        Level::Gvisor => Isolation::Gvisor,
    }
}

fn level(isolation: Isolation) -> Level {
    match isolation {
        Isolation::Process => Level::Process,
        Isolation::Container => Level::Container,
        Isolation::Gvisor => Level::Gvisor,
    }
}
