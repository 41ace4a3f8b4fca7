//! The public contract: what clients may send, what they get back, and the limits between the two.
//!
//! Requests are *read* (module [`read`]) field by field from parsed JSON, so that a refusal always
//! names the exact place (`tools.0.configs.2.enabled`) and nothing unknown is swallowed. Views are
//! plain serde types whose keys are always present. Nothing here does I/O, knows a clock or makes
//! a random number: those come in as arguments.
//!
//! A field that the contract has and this server does not act on yet is refused, unless it holds
//! its default; see [`read::unserved`].

pub mod agent;
pub mod api_key;
pub mod audit;
pub mod client_event;
pub mod content;
pub mod credential;
pub mod environment;
pub mod error;
pub mod event;
pub mod file;
pub mod id;
pub mod limits;
pub mod mcp;
pub mod metadata;
pub mod model;
pub mod money;
pub mod page;
pub mod patch;
pub mod read;
pub mod session;
pub mod session_store;
pub mod time;
pub mod tool;
pub mod vault;
pub mod workspace;

/// Declares a type with exactly one value, for the `type` keys of the contract.
macro_rules! literal {
    ($(#[$doc:meta])* $name:ident = $value:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            /// The only value.
            #[default]
            #[serde(rename = $value)]
            Value,
        }
    };
}
pub(crate) use literal;
