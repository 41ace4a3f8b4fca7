//! What a session's version must fit, and which of the versions that are there it gets. A plain
//! function of plain values.

use std::fmt;

use semver::{Comparator, Op, Prerelease, Version, VersionReq};

use super::{Installed, Standing};

/// What a session's version must fit: all that is said by whom it concerns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// What the agent asks for.
    pub agent: Option<&'a VersionReq>,
    /// What the environment asks for.
    pub environment: Option<&'a VersionReq>,
    /// What the server's settings allow where neither of them says anything.
    pub settings: Option<&'a VersionReq>,
}

impl<'a> Wanted<'a> {
    /// Whether a version fits everything.
    #[must_use]
    pub fn fits(&self, version: &Version) -> bool {
        self.parts().all(|(_, part)| part.matches(version))
    }

    /// Whether somebody names one version by its number.
    fn is_exact(&self) -> bool {
        self.parts().any(|(_, part)| exact(part).is_some())
    }

    /// Everything in one requirement, as a person would write it.
    pub(super) fn joined(&self) -> String {
        let parts = self.parts().map(|(_, part)| part.to_string());
        any(parts.collect::<Vec<_>>().join(", "))
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &'a VersionReq)> + use<'a> {
        let settings = match (self.agent, self.environment) {
            (None, None) => self.settings,
            _ => None,
        };
        let parts = [
            ("the agent's ", self.agent),
            ("the environment's ", self.environment),
            ("", settings),
        ];
        parts
            .into_iter()
            .filter_map(|(whose, part)| Some((whose, part?)))
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().map(|(whose, part)| format!("{whose}{part}"));
        f.write_str(&any(parts.collect::<Vec<_>>().join(" and ")))
    }
}

/// Who asks for nothing asks for any.
fn any(text: String) -> String {
    if text.is_empty() {
        "*".to_owned()
    } else {
        text
    }
}

impl<'a> From<Option<&'a VersionReq>> for Wanted<'a> {
    fn from(settings: Option<&'a VersionReq>) -> Wanted<'a> {
        Wanted {
            settings,
            ..Wanted::default()
        }
    }
}

/// The one version that a requirement names, if it names one by its whole number.
#[must_use]
pub fn exact(requirement: &VersionReq) -> Option<Version> {
    let named = |one: &Comparator| {
        let (Op::Exact, Some(minor), Some(patch)) = (one.op, one.minor, one.patch) else {
            return None;
        };
        let mut version = Version::new(one.major, minor, patch);
        version.pre = Prerelease::clone(&one.pre);
        Some(version)
    };
    requirement.comparators.iter().find_map(named)
}

/// Which of the versions, newest first, a session gets: the chosen one, else the newest that is
/// offered. What is not offered must be named.
pub(super) fn choose(
    found: &[Installed],
    wanted: &Wanted<'_>,
    chosen: Option<&Version>,
) -> Option<usize> {
    // A requirement alone never takes a pre-release; without one the newest is the newest.
    let fits = |one: &&Installed| wanted.fits(&one.version);
    let at = |is: &dyn Fn(&Installed) -> bool| found.iter().position(|one| fits(&one) && is(one));
    at(&|one| Some(&one.version) == chosen)
        .or_else(|| at(&|one| one.standing == Standing::Offered))
        .or_else(|| at(&|_| wanted.is_exact()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn req(text: &str) -> VersionReq {
        VersionReq::parse(text).unwrap()
    }

    fn installed(rows: &[(&str, Standing)]) -> Vec<Installed> {
        let one = |(version, standing): &(&str, Standing)| Installed {
            version: Version::parse(version).unwrap(),
            path: "/claude".into(),
            size: 1,
            installed_at: std::time::UNIX_EPOCH,
            default: false,
            standing: *standing,
            canary: None,
        };
        rows.iter().map(one).collect()
    }

    #[test]
    fn a_session_gets_the_newest_offered_that_fits_all() {
        use Standing::{Offered, Unproved, Withdrawn};
        let found = installed(&[
            ("2.2.0", Unproved),
            ("2.1.9", Offered),
            ("2.1.8", Withdrawn),
            ("2.0.9", Offered),
        ]);
        let rows = [
            (None, None, None, None, Some("2.1.9")),
            (None, None, None, Some("2.0.9"), Some("2.0.9")),
            (Some("^2"), None, None, Some("2.0.9"), Some("2.0.9")),
            (Some(">=2.1"), None, None, Some("2.0.9"), Some("2.1.9")),
            (None, Some("~2.0"), None, None, Some("2.0.9")),
            (Some("^2"), Some("~2.0"), None, None, Some("2.0.9")),
            (Some("~2.1"), Some("~2.0"), None, None, None),
            // What is not offered is had by its whole number alone.
            (Some("=2.2.0"), None, None, None, Some("2.2.0")),
            (None, Some("=2.1.8"), None, None, Some("2.1.8")),
            (Some("=2.2"), None, None, None, None),
            (Some("=2.2.0"), Some("~2.1"), None, None, None),
            // The settings count where nobody else says anything.
            (None, None, Some("~2.0"), None, Some("2.0.9")),
            (Some("~2.1"), None, Some("~2.0"), None, Some("2.1.9")),
        ];
        for (agent, environment, settings, chosen, expected) in rows {
            let [agent, environment, settings] =
                [agent, environment, settings].map(|text: Option<&str>| text.map(req));
            let wanted = Wanted {
                agent: agent.as_ref(),
                environment: environment.as_ref(),
                settings: settings.as_ref(),
            };
            let chosen = chosen.map(|text| Version::parse(text).unwrap());
            let got = choose(&found, &wanted, chosen.as_ref()).map(|at| &found[at].version);
            assert_eq!(
                got.map(Version::to_string).as_deref(),
                expected,
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn whole_numbers_are_told_from_requirements() {
        for (text, expected) in [
            ("=2.1.330", Some("2.1.330")),
            ("=2.1.330-beta.1", Some("2.1.330-beta.1")),
            ("^2, =2.1.0", Some("2.1.0")),
            ("=2.1", None),
            ("2.1.330", None),
            ("*", None),
        ] {
            let version = exact(&req(text)).map(|version| version.to_string());
            assert_eq!(version.as_deref(), expected, "{text}");
        }
    }
}
