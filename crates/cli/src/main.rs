//! The `hostel` binary: the server, and the verbs of someone who uses it from a terminal.
//! It decides nothing about agents or sandboxes; it starts the server or speaks to one.

use std::process::ExitCode;

mod apart;
mod arguments;
mod client;
mod config;
mod demo;
mod doctor;
mod embedded;
mod events;
mod failure;
mod fork;
mod keeper;
mod keys;
mod logs;
mod model;
mod output;
mod private;
mod progress;
mod ps;
mod results;
mod run;
mod send;
mod serve;
mod settings;
mod show;
mod stop;
mod task;
mod versions;
mod workspaces;

fn main() -> ExitCode {
    // The helper that makes one container must run while this process has a single thread, so
    // it comes before the parser, the runtime and the logs.
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == sandbox::oci::HELPER_COMMAND => {
            sandbox::oci::helper_main(&words.collect::<Vec<_>>())
        }
        Some(word) if word == sandbox::keeper::COMMAND => keeper::main(&words.collect::<Vec<_>>()),
        _ => arguments::main(),
    }
}
