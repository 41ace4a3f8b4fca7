//! What the live sandboxes of a data directory show of the host, read from their own records: for
//! whoever is about to remove one of those files. Nothing is asked of a server and nothing is changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    process,
    request::{Made, Request},
};

/// The host files that each live sandbox of this data directory shows below `/opt/hostel`, one list
/// for each sandbox. One whose making is under way counts; one whose first process is gone does not.
#[must_use]
pub fn shown(data: &Path) -> Vec<Vec<PathBuf>> {
    let sandboxes = fs::read_dir(data.join("sandboxes"));
    sandboxes
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| of(&entry.path()))
        .collect()
}

fn of(directory: &Path) -> Option<Vec<PathBuf>> {
    let request: Request =
        serde_json::from_slice(&fs::read(directory.join("request.json")).ok()?).ok()?;
    let made = fs::read(directory.join("made.json")).ok();
    let made = made.and_then(|bytes| serde_json::from_slice::<Made>(&bytes).ok());
    if made.is_some_and(|made| !process::lives(made)) {
        return None;
    }
    Some(request.tools.into_iter().map(|bind| bind.source).collect())
}
