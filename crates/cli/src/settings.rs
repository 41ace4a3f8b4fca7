//! The settings of a server that this process starts: flags before variables before the file.
//! What the settings are is the server's own; nothing here knows one by its meaning but `data`.

use std::ffi::OsString;
use std::path::PathBuf;

use server::config::{self, Config, Sources};

use crate::failure::Failure;

/// Settings on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// The directory that holds everything durable
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<String>,
    /// A TOML file with settings; `hostel config schema` describes it
    #[arg(long, value_name = "FILE", env = "HOSTEL_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Any setting, for example sandbox.memory_mib=2048 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair, global = true)]
    set: Vec<(String, String)>,
}

impl Flags {
    /// The effective settings; `more` are the verb's own flags.
    pub fn load(&self, more: &[(&str, Option<&str>)]) -> Result<Config, Failure> {
        let mut flags = self.set.clone();
        let named = more.iter().copied().chain([("data", self.data.as_deref())]);
        flags.extend(named.filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
        let variable = |name: &str| self.variable(name);
        config::load(Sources {
            file: self.config.as_deref(),
            variable: &variable,
            flags: &flags,
        })
        .map_err(|error| {
            Failure::caused("wrong settings", &error)
                .into_usage()
                .next("`hostel config schema` describes every setting")
        })
    }

    /// Them again, for another process of this program, but for the data directory.
    pub fn words(&self) -> Vec<OsString> {
        let file = self
            .config
            .iter()
            .flat_map(|file| ["--config".into(), file.into()]);
        let set = self.set.iter();
        let set = set.flat_map(|(key, value)| ["--set".into(), format!("{key}={value}").into()]);
        file.chain(set).collect()
    }

    /// The process's variables. Where nothing says where the data lies, it lies in the user's
    /// own data directory, so that every verb finds it from every working directory.
    fn variable(&self, name: &str) -> Option<String> {
        let given = std::env::var(name).ok().filter(|value| !value.is_empty());
        if given.is_none() && name == "HOSTEL_DATA" && !self.file_names_data() {
            return data_directory(|name| std::env::var(name).ok());
        }
        given
    }

    /// Whether the file says where the data lies. One that cannot be read is complained of elsewhere.
    fn file_names_data(&self) -> bool {
        let text = self.config.as_ref().map(std::fs::read_to_string);
        let table = text.and_then(|text| text.ok()?.parse::<toml::Table>().ok());
        table.is_some_and(|table| table.contains_key("data"))
    }
}

/// `$XDG_DATA_HOME/hostel`, or its standard place; none for a user without a home.
fn data_directory(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let given = |name: &str| variable(name).filter(|value| value.starts_with('/'));
    let base =
        given("XDG_DATA_HOME").or_else(|| Some(format!("{}/.local/share", given("HOME")?)))?;
    Some(format!("{base}/hostel"))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err("must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_follows_the_standard() {
        let with = |pairs: &'static [(&str, &str)]| {
            data_directory(move |name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(
            with(&[("HOME", "/h")]).as_deref(),
            Some("/h/.local/share/hostel")
        );
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]).as_deref(),
            Some("/d/hostel")
        );
        assert_eq!(with(&[("XDG_DATA_HOME", "relative")]), None);
    }

    #[test]
    fn a_setting_has_a_key_and_a_value() {
        assert_eq!(pair("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(pair("a.b").is_err());
    }
}
