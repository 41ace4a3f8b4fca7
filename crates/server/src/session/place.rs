//! Where things are inside a sandbox. Claude, the guest and egress agree on these.
//!
//! A sandbox of one session has the names that a user knows (`/workspace`). In a sandbox of several,
//! each session has a directory of its own below them, and a user of its own, so that none can read
//! what belongs to another.

use sandbox::guest_channel::User;
use sandbox::{MEMBER_IDS, MEMBERS_GROUP};

/// The claude binary.
pub const CLI: &str = "/opt/hostel/claude";
/// The variables by which programs are told whom to trust when they speak TLS: Node, which adds to what
/// it brings along; OpenSSL and Rust programs, Python's requests, git, pip, npm and curl, which take the
/// whole list.
pub const TRUSTING: [(&str, &str); 7] = [
    ("NODE_EXTRA_CA_CERTS", sandbox::TRUSTED_OWN),
    ("SSL_CERT_FILE", sandbox::TRUSTED),
    ("REQUESTS_CA_BUNDLE", sandbox::TRUSTED),
    ("GIT_SSL_CAINFO", sandbox::TRUSTED),
    ("PIP_CERT", sandbox::TRUSTED),
    ("npm_config_cafile", sandbox::TRUSTED),
    ("CURL_CA_BUNDLE", sandbox::TRUSTED),
];
/// The name of claude's configuration directory below the home directory.
pub const CONFIG_NAME: &str = ".claude";
/// The common directory of a sandbox with the pattern `shared`.
pub const SHARED: &str = "/workspace/shared";
/// The tag of connections to a seat's model port, before the seat's number.
pub const MODEL: &str = "model";
/// The tag of connections to a seat's proxy port, before the seat's number.
pub const PROXY: &str = "proxy";
/// Seats that one sandbox can ever hand out: each takes two ports of loopback and one user id, and
/// none is given to a second session. A sandbox that has given all of them takes no more sessions.
pub const SEATS: u32 = MEMBER_IDS.end - MEMBER_IDS.start;

/// The ports of the first seat. Above the ephemeral range, so that no program gets one by chance.
const PORTS: u16 = 61001;
/// Where one session sits in a sandbox.
#[derive(Debug, Clone)]
pub struct Place {
    /// The seat's number in its sandbox; 0 where there is only one.
    pub seat: u32,
    /// Who its processes run as; `None` for the sandbox's only user.
    pub user: Option<User>,
    /// The working directory.
    pub workspace: String,
    /// The home directory.
    pub home: String,
    /// Temporary files: claude's sockets lie there, so they are this session's own.
    pub tmp: String,
    /// What the session shares with its client; its `outputs` become files.
    pub session: String,
    /// Where the model API is, on loopback.
    pub model_port: u16,
    /// Where the HTTP proxy is, on loopback.
    pub proxy_port: u16,
}

impl Place {
    /// The only seat of a sandbox.
    #[must_use]
    pub fn only() -> Place {
        Place {
            seat: 0,
            user: None,
            workspace: "/workspace".to_owned(),
            home: "/home/agent".to_owned(),
            tmp: "/tmp".to_owned(),
            session: "/mnt/session".to_owned(),
            model_port: PORTS,
            proxy_port: PORTS + 1,
        }
    }

    /// A seat beside others. `name` is the same wherever the session sits, so that its paths stay.
    #[must_use]
    pub fn member(seat: u32, name: &str) -> Place {
        let port = PORTS + 2 * u16::try_from(seat).expect("a seat's number is below SEATS");
        let id = MEMBER_IDS.start + seat;
        Place {
            seat,
            user: Some(User {
                uid: id,
                gid: id,
                groups: vec![MEMBERS_GROUP],
            }),
            workspace: format!("/workspace/{name}"),
            home: format!("/home/{name}"),
            tmp: format!("/tmp/{name}"),
            session: format!("/mnt/session/{name}"),
            model_port: port,
            proxy_port: port + 1,
        }
    }

    /// Claude's configuration directory.
    #[must_use]
    pub fn config(&self) -> String {
        format!("{}/{CONFIG_NAME}", self.home)
    }

    /// Where the session's results lie.
    #[must_use]
    pub fn outputs(&self) -> String {
        format!("{}/outputs", self.session)
    }

    /// What a snapshot keeps.
    #[must_use]
    pub fn roots(&self) -> Vec<String> {
        vec![
            self.workspace.clone(),
            self.home.clone(),
            self.session.clone(),
        ]
    }

    /// The last directory, in the order of trees, that claude looks at before its first prompt: it
    /// reads its configuration, and whether the working directory is a repository. Relative to the
    /// root.
    #[must_use]
    pub fn looked_at_first(&self) -> String {
        let path = format!("{}/.git", self.workspace);
        path.trim_start_matches('/').to_owned()
    }

    /// The owner of [`SHARED`], for whoever makes it.
    #[must_use]
    pub fn sharing() -> User {
        User {
            uid: 0,
            gid: MEMBERS_GROUP,
            groups: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_seats_have_anything_in_common() {
        let (a, b) = (Place::member(1, "a"), Place::member(SEATS - 1, "b"));
        assert!(a.roots().iter().all(|root| !b.roots().contains(root)));
        assert_ne!(a.user.unwrap().uid, b.user.unwrap().uid);
        assert!(a.proxy_port < b.model_port);
    }
}
