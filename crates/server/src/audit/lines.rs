//! Records as lines of JSON, one each, for whoever collects them.

use std::io;
use std::path::{Path, PathBuf};

use api::audit::AuditRecord;
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Where lines go.
pub struct Lines {
    name: PathBuf,
    output: Box<dyn AsyncWrite + Send + Unpin>,
    /// Lines that could not be written since the last one that could.
    missed: u64,
}

/// The file cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot append to {}", .path.display())]
pub struct LinesError {
    /// Which.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl Lines {
    /// Opens a file to append to, readable by this user alone; `-` is standard output.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(path: &Path) -> Result<Lines, LinesError> {
        let output: Box<dyn AsyncWrite + Send + Unpin> = match path == Path::new("-") {
            true => Box::new(tokio::io::stdout()),
            false => {
                let mut options = File::options();
                options.append(true).create(true).mode(0o600);
                let opened = options.open(path).await;
                Box::new(opened.map_err(|source| LinesError {
                    path: path.to_owned(),
                    source,
                })?)
            }
        };
        Ok(Lines {
            name: path.to_owned(),
            output,
            missed: 0,
        })
    }

    /// Writes a line for each record. What cannot be written is in the store nevertheless; how many
    /// lines are missing is said in the log.
    pub(super) async fn write(&mut self, records: impl Iterator<Item = AuditRecord>) {
        let (mut text, mut count) = (Vec::new(), 0);
        for record in records {
            if serde_json::to_writer(&mut text, &record).is_ok() {
                text.push(b'\n');
                count += 1;
            }
        }
        let written = async {
            self.output.write_all(&text).await?;
            self.output.flush().await
        };
        let name = self.name.display();
        match written.await {
            Ok(()) if self.missed > 0 => {
                tracing::warn!("{} lines of the audit are missing in {name}", self.missed);
                self.missed = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.missed == 0 {
                    tracing::error!("cannot write lines of the audit to {name}: {error}");
                }
                self.missed += count;
            }
        }
    }
}
