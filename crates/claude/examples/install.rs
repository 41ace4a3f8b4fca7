//! Installs a version of the CLI from the registry that npm's settings name, into a directory.
//!
//! ```text
//! cargo run -p claude --example install -- <dir> [requirement]
//! ```

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use claude::versions::{Progress, Registry, Versions, requirement};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .ok_or("usage: install <dir> [requirement]")?;
    let wanted = requirement(&arguments.next().unwrap_or_default())?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "another crypto provider is installed")?;
    let home = std::env::var("HOME")?;
    let env = |name: &str| std::env::var(name).ok();
    let registry = Registry::from_npm_config(&env, Path::new("."), Path::new(&home))?;
    let begun = Instant::now();
    let installed = Versions::open(dir.into())?
        .install(&registry, wanted.as_ref(), |progress| {
            if let Progress::Downloading {
                received, total, ..
            } = progress
            {
                print!("\r{received} of {} bytes", total.unwrap_or_default());
                let _ = std::io::stdout().flush();
            }
        })
        .await?;
    println!(
        "\n{} at {} in {:?}",
        installed.version,
        installed.path.display(),
        begun.elapsed()
    );
    Ok(())
}
