//! The application: the HTTP surface, the sessions behind it, and what both stand on.
//!
//! | where | what |
//! | --- | --- |
//! | [`config`] | settings: file, variables, flags |
//! | [`app`] | the wired parts |
//! | [`wire`] | from settings to running parts |
//! | [`lifecycle`] | serving and stopping |
//! | [`http`] | a folder per resource, a file per verb |
//! | [`auth`], [`error`] | who is asking; what a refusal looks like |
//! | [`session`] | actors, one per live session, and the live end of their logs |
//! | [`tenants`] | what each workspace may use |
//! | [`vaults`] | credentials: sealed, given to sessions, renewed |
//! | [`usage`] | what sessions use, and their budgets |
//! | `reconcile` | sandboxes that should not exist |
//! | [`clock`], [`ids`] | time and chance, as arguments |
//!
//! `http` knows no provider of sandboxes, and `session` does not know how the API is spoken.

pub mod app;
pub mod audit;
pub mod auth;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod error;
pub mod given;
pub mod http;
pub mod ids;
pub mod lifecycle;
mod rates;
mod reconcile;
pub mod retention;
pub mod session;
pub mod tenants;
pub mod usage;
pub mod vaults;
pub mod wire;

pub use app::{App, PING, Parts};
pub use given::Given;
pub use lifecycle::{Server, StartError, run};
