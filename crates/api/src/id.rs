//! Identifiers: a prefix that says what it names, `01`, and 22 characters that say which one.
//!
//! Clients treat them as opaque and so does the server: nothing is ever read out of one.

/// What an identifier names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// An agent.
    Agent,
    /// An environment.
    Environment,
    /// A session.
    Session,
    /// An event of a session.
    Event,
    /// A thread of a session.
    Thread,
    /// A file of a session.
    File,
    /// A request to this server.
    Request,
    /// A workspace.
    Workspace,
    /// An API key.
    ApiKey,
    /// A vault.
    Vault,
    /// A credential of a vault.
    Credential,
}

impl Prefix {
    /// The prefix with its underscore.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Prefix::Agent => "agent_",
            Prefix::Environment => "env_",
            Prefix::Session => "sesn_",
            Prefix::Event => "sevt_",
            Prefix::Thread => "sthr_",
            Prefix::File => "file_",
            Prefix::Request => "req_",
            Prefix::Workspace => "wrkspc_",
            Prefix::ApiKey => "apikey_",
            Prefix::Vault => "vlt_",
            Prefix::Credential => "vcrd_",
        }
    }
}

/// Base 58: no `0`, `O`, `I` or `l`, so that an identifier survives being read aloud.
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Characters that 16 bytes need in base 58.
const LENGTH: usize = 22;

/// The identifier that 16 random bytes make.
#[must_use]
pub fn mint(prefix: Prefix, random: [u8; 16]) -> String {
    let mut rest = u128::from_be_bytes(random);
    let mut digits = [ALPHABET[0]; LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[usize::try_from(rest % 58).expect("a remainder of 58 fits")];
        rest /= 58;
    }
    let mut id = String::with_capacity(prefix.as_str().len() + 2 + LENGTH);
    id.push_str(prefix.as_str());
    id.push_str("01");
    id.extend(digits.iter().map(|digit| char::from(*digit)));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_prefix_01_and_22_characters() {
        assert_eq!(
            mint(Prefix::Agent, [0; 16]),
            "agent_011111111111111111111111"
        );
        let last = mint(Prefix::Session, [255; 16]);
        assert_eq!(last, "sesn_01YcVfxkQb6JRzqk5kF2tNLv");
        assert_eq!(last.len(), "sesn_01".len() + 22);
    }

    #[test]
    fn different_bytes_make_different_ids() {
        let mut bytes = [0; 16];
        bytes[15] = 1;
        assert_ne!(mint(Prefix::Event, bytes), mint(Prefix::Event, [0; 16]));
    }
}
