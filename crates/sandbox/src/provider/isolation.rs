//! The isolation ladder: what stands between a sandbox and its host, in named levels.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// What stands between a sandbox and its host, weakest first. At every level there are the same
/// guest, link and way out, no network interface, a filter of system calls, and no capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces and Landlock, put up by our own code, without an OCI runtime. Limits are kept
    /// where the host lets us make control groups.
    Process,
    /// A container made by an OCI runtime: namespaces of one kernel, and as root a user namespace
    /// with ids of the sandbox's own and limits that the kernel keeps.
    Container,
    /// A kernel in user space (gVisor): the host's kernel is spoken to by it alone.
    Gvisor,
}

/// The levels that a provider offers on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// The one that a sandbox has when nobody asks for more.
    pub usual: Isolation,
    /// Those that cannot be had, each with the reason and what to do. All others can.
    pub absent: BTreeMap<Isolation, String>,
}

/// The host cannot isolate as well as was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("isolation of at least `{least}` cannot be had on this host: {reason}")]
pub struct TooWeak {
    /// What was asked for.
    pub least: Isolation,
    /// Why not, for each level that would do.
    pub reason: String,
}

impl Isolation {
    /// Every level, weakest first.
    pub const ALL: [Isolation; 3] = [Isolation::Process, Isolation::Container, Isolation::Gvisor];

    /// The level's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::Process => "process",
            Isolation::Container => "container",
            Isolation::Gvisor => "gvisor",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Levels {
    /// The level that a sandbox gets: the usual one if that is enough, else the next above that
    /// can be had. Never less than was asked for.
    ///
    /// # Errors
    /// When none is enough.
    pub fn at_least(&self, least: Option<Isolation>) -> Result<Isolation, TooWeak> {
        let Some(least) = least.filter(|least| *least > self.usual) else {
            return Ok(self.usual);
        };
        let enough = Isolation::ALL.into_iter().filter(|level| *level >= least);
        let mut reasons = Vec::new();
        for level in enough {
            match self.absent.get(&level) {
                None => return Ok(level),
                Some(reason) => reasons.push(reason.as_str()),
            }
        }
        Err(TooWeak {
            least,
            reason: reasons.join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(usual: Isolation, absent: &[Isolation]) -> Levels {
        let absent = absent.iter().map(|level| (*level, format!("no {level}")));
        Levels {
            usual,
            absent: absent.collect(),
        }
    }

    #[test]
    fn the_usual_level_is_taken_when_it_is_enough() {
        let levels = levels(Isolation::Container, &[]);
        for least in [None, Some(Isolation::Process), Some(Isolation::Container)] {
            assert_eq!(levels.at_least(least), Ok(Isolation::Container));
        }
        assert_eq!(
            levels.at_least(Some(Isolation::Gvisor)),
            Ok(Isolation::Gvisor)
        );
    }

    #[test]
    fn a_level_that_is_absent_is_stepped_over_upwards_and_never_downwards() {
        let gap = levels(Isolation::Process, &[Isolation::Container]);
        assert_eq!(
            gap.at_least(Some(Isolation::Container)),
            Ok(Isolation::Gvisor)
        );
        let low = levels(Isolation::Container, &[Isolation::Gvisor]);
        let refused = low.at_least(Some(Isolation::Gvisor)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "isolation of at least `gvisor` cannot be had on this host: no gvisor"
        );
    }

    #[test]
    fn levels_are_ordered_and_named_as_they_are_written() {
        assert!(Isolation::ALL.is_sorted());
        for level in Isolation::ALL {
            let written = serde_json::to_value(level).unwrap();
            assert_eq!(written, level.as_str());
        }
    }
}
