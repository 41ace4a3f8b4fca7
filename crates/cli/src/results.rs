//! The files that a finished task left: where they are, or saved into a directory.
//!
//! Their names were chosen by an agent. None of them leads out of the directory, and nothing that lay
//! there before is replaced.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, line};
use crate::show::tame;

/// Where results go.
pub enum Place {
    /// Into this directory.
    Save(PathBuf),
    /// They stay with the server that is asked.
    Server,
    /// They stay with a server that ends with the task, whose files lie here.
    Data(PathBuf),
}

impl Place {
    /// Makes sure that results can be saved, before there are any.
    pub fn prepare(&self) -> Result<(), Failure> {
        let Place::Save(dir) = self else {
            return Ok(());
        };
        let failed = |error| cannot("make", dir, &error);
        fs::create_dir_all(dir).map_err(failed)?;
        if fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(
                Failure::usage(format!("the directory {} is not empty", dir.display()))
                    .next("name one that is empty or not there: nothing is ever replaced"),
            );
        }
        Ok(())
    }

    /// Whether results need their session no longer, once they were told.
    pub fn saves(&self) -> bool {
        matches!(self, Place::Save(_))
    }
}

/// Saves a session's files, or leaves them where they are, and says where each is. Gives their number.
pub async fn tell(
    client: &Client,
    session: &str,
    place: &Place,
    output: Output,
) -> Result<usize, Failure> {
    let mut files = Vec::new();
    let keep = |file| {
        files.push(file);
        Ok(())
    };
    client
        .list("/v1/files", &[("scope_id", session)], keep)
        .await?;
    for file in &files {
        let id = file["id"].as_str().unwrap_or_default();
        let content = format!("/v1/files/{id}/content");
        let at = match place {
            Place::Save(dir) => {
                let path = below(dir, file["filename"].as_str().unwrap_or_default())?;
                save(client, &content, &path).await?;
                path.display().to_string()
            }
            Place::Server => client.url(&content),
            Place::Data(dir) => dir.join(id).display().to_string(),
        };
        let text = if output.json {
            json!({"type": "hostel.file", "file": file, "at": at}).to_string()
        } else {
            told(file, &at)
        };
        line(&text)?;
    }
    Ok(files.len())
}

fn told(file: &Value, at: &str) -> String {
    let name = file["filename"].as_str().unwrap_or_default();
    let bytes = file["size_bytes"].as_u64().unwrap_or(0);
    let text = format!("{name} ({bytes} bytes): {at}");
    tame(&text).replace('\n', "\u{fffd}")
}

/// The path of a file of this name below a directory.
fn below(dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    let name = Path::new(name);
    let mut parts = name.components().peekable();
    if parts.peek().is_none() || parts.any(|part| !matches!(part, Component::Normal(_))) {
        return Err(Failure::new(format!(
            "the result {:?} is not saved: its name leads elsewhere",
            name.display().to_string()
        )));
    }
    Ok(dir.join(name))
}

async fn save(client: &Client, content: &str, path: &Path) -> Result<(), Failure> {
    let failed = |error| cannot("write", path, &error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = File::create_new(path).map_err(failed)?;
    let write = |piece: &[u8]| file.write_all(piece).map_err(failed);
    client.download(content, write).await
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::caused(format!("cannot {what} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let dir = Path::new("/out");
        for name in ["", "/etc/passwd", "../x", "a/../../x", "."] {
            assert!(below(dir, name).is_err(), "{name}");
        }
        assert_eq!(below(dir, "a/b.txt").unwrap(), Path::new("/out/a/b.txt"));
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_before_the_task() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::Save(dir.path().join("new/deep"));
        assert!(place.prepare().is_ok() && place.prepare().is_ok());
        fs::write(dir.path().join("new/deep/x"), "").unwrap();
        assert!(place.prepare().is_err());
    }

    #[test]
    fn a_name_stays_on_its_line() {
        let file = json!({"filename": "a\n\u{1b}[2J", "size_bytes": 3});
        let text = told(&file, "http://x/y");
        assert!(!text.contains(['\n', '\u{1b}']), "{text:?}");
        assert!(text.ends_with("(3 bytes): http://x/y"), "{text}");
    }
}
