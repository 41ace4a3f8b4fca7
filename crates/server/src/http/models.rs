//! Models that this server knows by name. The list promises nothing about the configured model API,
//! which is asked only when a session runs.

mod get;
mod list;
mod table;

pub(super) use get::get;
pub(super) use list::list;
