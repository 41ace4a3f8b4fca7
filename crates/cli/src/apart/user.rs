//! Who the server becomes.

use std::ffi::CString;
use std::fmt;

use nix::unistd::{Gid, Uid, User as Account, getgrouplist};
use server::config::Config;

use crate::failure::Failure;

/// The account that is taken when there is one and nothing else is asked for.
const NAME: &str = "hostel";

/// The user, by number, where there is no such account. Nobody has it: it is the one before those of
/// sandboxes, above what account databases and other programs hand out.
const NOBODYS: u32 = 599_999_999;

/// The numbers that sandboxes have: whoever has one of these could be in a sandbox.
const SANDBOXES: std::ops::Range<u32> = 600_000_000..900_000_000;

/// What the settings come to.
pub enum Choice {
    /// Keep everything.
    Root,
    /// Become this user.
    User(User),
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: Option<String>,
    /// The number.
    pub uid: Uid,
    /// The first group, in whose hands the data directory is given.
    pub gid: Gid,
    /// All groups.
    pub groups: Vec<Gid>,
}

impl fmt::Display for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "user {name} ({})", self.uid),
            None => write!(formatter, "user {}", self.uid),
        }
    }
}

impl User {
    /// One without an account; its group has the same number.
    pub fn nobodys(uid: Uid) -> User {
        let gid = Gid::from_raw(uid.as_raw());
        User {
            name: None,
            uid,
            gid,
            groups: vec![gid],
        }
    }
}

/// Who the settings ask for.
pub fn choose(config: &Config) -> Result<Choice, Failure> {
    let user = match config.server.user.as_deref().map(str::trim) {
        Some("root" | "0") => return Ok(Choice::Root),
        Some(asked) => match asked.parse() {
            Ok(number) => numbered(Uid::from_raw(number))?,
            Err(_) => named(asked)?.ok_or_else(|| {
                Failure::new(format!("setting server.user: there is no user {asked}")).next(
                    format!(
                        "`useradd --system {asked}` makes one; without the setting none is needed"
                    ),
                )
            })?,
        },
        None => match named(NAME)? {
            Some(user) => user,
            None => numbered(Uid::from_raw(NOBODYS))?,
        },
    };
    match user.uid.as_raw() {
        0 => Ok(Choice::Root),
        uid if SANDBOXES.contains(&uid) => Err(Failure::new(format!(
            "setting server.user: user {uid} is one of those that sandboxes have"
        ))
        .next("take one below 600000000")),
        _ => Ok(Choice::User(user)),
    }
}

fn named(name: &str) -> Result<Option<User>, Failure> {
    let found = Account::from_name(name);
    let found = found.map_err(|error| unknown(name, error))?;
    found.map(of).transpose()
}

/// A number need not be anybody's.
fn numbered(uid: Uid) -> Result<User, Failure> {
    let found = Account::from_uid(uid);
    match found.map_err(|error| unknown(&uid.to_string(), error))? {
        Some(account) => of(account),
        None => Ok(User::nobodys(uid)),
    }
}

fn of(account: Account) -> Result<User, Failure> {
    let name = CString::new(account.name.as_str());
    let name = name.map_err(|error| Failure::caused("cannot look up the server's user", &error))?;
    let groups = getgrouplist(&name, account.gid);
    Ok(User {
        groups: groups.map_err(|error| unknown(&account.name, error))?,
        uid: account.uid,
        gid: account.gid,
        name: Some(account.name),
    })
}

fn unknown(name: &str, error: nix::Error) -> Failure {
    Failure::caused(format!("cannot look up user {name}"), &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(user: Option<&str>) -> Result<Option<u32>, String> {
        let mut config = Config::default();
        config.server.user = user.map(str::to_owned);
        match choose(&config) {
            Ok(Choice::Root) => Ok(None),
            Ok(Choice::User(user)) => Ok(Some(user.uid.as_raw())),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn a_user_is_a_name_or_a_number_and_root_is_said() {
        assert_eq!(chosen(Some("root")), Ok(None));
        assert_eq!(chosen(Some("0")), Ok(None));
        assert_eq!(chosen(Some("4711")), Ok(Some(4711)));
        assert_eq!(chosen(Some("nobody")), Ok(Some(65534)));
        let missing = chosen(Some("no-such-user")).unwrap_err();
        assert!(
            missing.contains("there is no user no-such-user"),
            "{missing}"
        );
        assert!(chosen(Some("600000123")).unwrap_err().contains("sandboxes"));
    }

    #[test]
    fn without_the_setting_it_is_never_root() {
        let expected = named(NAME)
            .unwrap()
            .map_or(NOBODYS, |user| user.uid.as_raw());
        assert_eq!(chosen(None), Ok(Some(expected)));
    }
}
