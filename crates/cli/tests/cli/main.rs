//! The real binary, in a home of its own, as a person or a script uses it. One test binary, a
//! file per subject; nothing here needs a network beyond the loopback.

mod answers;
mod command_line;
mod home;
mod server;
mod settings;
mod unit;
