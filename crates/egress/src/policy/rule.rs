//! Rules of an environment: by host, port, method and path.

use std::str::FromStr;

use super::{HostPattern, Target, WEB_PORTS};

/// One rule. The first of a policy that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether what it matches may leave.
    pub allow: bool,
    /// The hosts it is about; `None` is every host.
    pub host: Option<HostPattern>,
    /// The ports it is about. Empty means 80 and 443 where it allows, so that a forgotten port opens
    /// none, and every port where it denies, so that a forgotten port leaves none open.
    pub ports: Vec<u16>,
    /// The methods it is about, in capitals; empty is every method.
    pub methods: Vec<String>,
    /// The paths it is about; `None` is every path.
    pub path: Option<PathPattern>,
}

/// A path in which `*` stands for any text, the empty one and `/` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// What stands between the stars.
    pieces: Vec<String>,
}

/// The text is not a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path that begins with `/` or `*`")]
pub struct ParsePathError(pub String);

impl Rule {
    /// Whether it is about this host and port.
    pub(crate) fn covers(&self, target: &Target) -> bool {
        let port = match self.ports.as_slice() {
            [] => !self.allow || WEB_PORTS.contains(&target.port),
            ports => ports.contains(&target.port),
        };
        port && match &self.host {
            None => true,
            Some(host) => host.covers_name(target),
        }
    }

    /// Whether it asks for nothing but host and port.
    pub(crate) fn is_whole(&self) -> bool {
        self.methods.is_empty() && self.path.is_none()
    }

    /// Whether it is about this method and path, for a host and port that it covers.
    pub(crate) fn matches(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
            && self.path.as_ref().is_none_or(|known| known.matches(path))
    }
}

impl PathPattern {
    /// Whether the whole path is as the pattern says.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let (first, rest) = self.pieces.split_first().expect("a text has a first piece");
        let Some(mut left) = path.strip_prefix(first.as_str()) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return left.is_empty();
        };
        // The earliest place for each piece leaves the most room for those after it.
        for piece in middle {
            match left.find(piece.as_str()) {
                Some(at) => left = &left[at + piece.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }
}

impl FromStr for PathPattern {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with(['/', '*']) {
            return Err(ParsePathError(text.to_owned()));
        }
        Ok(Self {
            pieces: text.split('*').map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/a/*", "/a/", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/c", false),
            ("/a/*/c", "/a/b/c/d/c", true),
            ("*.git/*", "/x/y.git/info", true),
            ("*", "/", true),
            ("/a*a", "/a", false),
            ("/a*b*c", "/aXbXbXc", true),
            ("/a*b*c", "/aXcXb", false),
            ("/A", "/a", false),
        ] {
            let parsed: PathPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(path), expected, "{pattern} {path}");
        }
        assert!("a".parse::<PathPattern>().is_err());
    }

    #[test]
    fn a_forgotten_port_opens_web_ports_and_closes_every_port() {
        let rule = |allow| Rule {
            allow,
            host: Some("*.example.com".parse().unwrap()),
            ports: Vec::new(),
            methods: Vec::new(),
            path: None,
        };
        let covers =
            |allow, host: &str, port| rule(allow).covers(&Target::new(host, port).unwrap());
        assert!(covers(true, "a.example.com", 443) && !covers(true, "a.example.com", 22));
        assert!(covers(false, "a.example.com", 443) && covers(false, "a.example.com", 22));
        assert!(!covers(false, "example.com", 443));
    }
}
