//! npm's own settings, read without npm: where the registry is and how to reach it.
//!
//! Sources, the first that says something wins: `npm_config_*` variables, the project's `.npmrc`,
//! the user's, the machine's. A registry for our package's scope goes before the general one,
//! wherever it stands. Values may hold `${VARIABLE}`.
//!
//! What is never taken over: `strict-ssl=false`. The published hash comes over the same
//! connection as the package, so the connection must be verified.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The scope of the CLI's packages.
pub(super) const SCOPE: &str = "@anthropic-ai";

/// The registry when no setting names another.
pub const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org/";

/// What npm would use.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The registry, ending in a slash.
    pub(super) registry: String,
    pub(super) http_proxy: Option<String>,
    pub(super) https_proxy: Option<String>,
    pub(super) no_proxy: Option<String>,
    /// PEM certificates to trust beside the system's.
    pub(super) certificates: Option<Vec<u8>>,
    pub(super) credentials: Credentials,
}

/// Credentials by the place they are for. Their content is never shown.
#[derive(Clone, Default)]
pub(super) struct Credentials(HashMap<String, String>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("count", &self.0.len())
            .finish()
    }
}

/// npm's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A settings file is there but cannot be read.
    #[error("cannot read npm's settings in {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The registry is not an address.
    #[error("npm's setting for the registry is not an http address: {value:?}")]
    Registry {
        /// What it says, without credentials.
        value: String,
    },
    /// The file with certificates cannot be read.
    #[error("cannot read the certificates in {path:?} that npm's setting `cafile` names")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    pub(super) fn read(env: Env<'_>, cwd: &Path, home: &Path) -> Result<Self, ConfigError> {
        let layers = files(env, cwd, home)
            .into_iter()
            .map(|path| layer(&path, env))
            .collect::<Result<Vec<_>, _>>()?;
        let get = |key: &str| {
            from_env(env, key).or_else(|| layers.iter().find_map(|layer| layer.get(key).cloned()))
        };
        let registry = get(&format!("{SCOPE}:registry"))
            .or_else(|| get("registry"))
            .unwrap_or_else(|| DEFAULT_REGISTRY.to_owned());
        let variable = |names: [&str; 2]| names.into_iter().find_map(|name| filled(env(name)));
        let https_proxy = get("https-proxy").or_else(|| get("proxy"));
        Ok(Self {
            registry: address(registry)?,
            https_proxy: https_proxy.or_else(|| variable(["HTTPS_PROXY", "https_proxy"])),
            http_proxy: get("proxy").or_else(|| variable(["HTTP_PROXY", "http_proxy"])),
            no_proxy: get("noproxy").or_else(|| variable(["NO_PROXY", "no_proxy"])),
            certificates: certificates(get("cafile"))?,
            credentials: Credentials(credentials(&layers)),
        })
    }
}

impl Credentials {
    /// The `Authorization` header for an address: that of the longest place that it lies in.
    pub(super) fn header(&self, url: &reqwest::Url) -> Option<String> {
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let mut place = format!("//{}{port}{}", url.host_str()?, url.path());
        loop {
            place.truncate(place.rfind('/')? + 1);
            if let Some(header) = self.0.get(&place) {
                return Some(header.clone());
            }
            place.pop();
            if place.len() <= 2 {
                return None;
            }
        }
    }
}

/// The settings files that may exist, the strongest first.
fn files(env: Env<'_>, cwd: &Path, home: &Path) -> Vec<PathBuf> {
    let named = |key| from_env(env, key).map(PathBuf::from);
    let mut files = vec![cwd.join(".npmrc")];
    files.push(named("userconfig").unwrap_or_else(|| home.join(".npmrc")));
    match named("globalconfig") {
        Some(path) => files.push(path),
        None => {
            // npm's own place depends on where node was installed; these are the usual ones.
            let prefix = named("prefix").or_else(|| filled(env("PREFIX")).map(PathBuf::from));
            files.extend(prefix.map(|prefix| prefix.join("etc/npmrc")));
            files.extend(
                ["/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc"].map(PathBuf::from),
            );
        }
    }
    files
}

/// npm takes its variables in either case, with `_` for `-`.
fn from_env(env: Env<'_>, key: &str) -> Option<String> {
    let spelled = if key.starts_with('@') {
        key.to_owned()
    } else {
        key.replace('-', "_")
    };
    filled(env(&format!("npm_config_{spelled}")))
        .or_else(|| filled(env(&format!("NPM_CONFIG_{}", spelled.to_uppercase()))))
}

fn filled(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty() && value != "null")
}

fn layer(path: &Path, env: Env<'_>) -> Result<HashMap<String, String>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|line| entry(line, env)).collect()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(HashMap::new())
        }
        Err(source) => Err(ConfigError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn entry(line: &str, env: Env<'_>) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with([';', '#']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    let value = value.trim();
    let bare = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let value = filled(Some(expand(bare.unwrap_or(value), env)))?;
    Some((expand(key.trim(), env), value))
}

/// Puts variables in. One that is not set stays as it is written, as with npm, and `${NAME?}` is
/// then nothing.
fn expand(text: &str, env: Env<'_>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        let optional = name.strip_suffix('?');
        match env(optional.unwrap_or(name)) {
            Some(value) => out.push_str(&value),
            None if optional.is_some() => {}
            None => out.push_str(&format!("${{{name}}}")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn address(mut value: String) -> Result<String, ConfigError> {
    if !value.ends_with('/') {
        value.push('/');
    }
    let parsed = reqwest::Url::parse(&value)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    match parsed {
        Some(_) => Ok(value),
        // What stands before an `@` may be a password.
        None => Err(ConfigError::Registry {
            value: value.rsplit('@').next().unwrap_or_default().to_owned(),
        }),
    }
}

fn certificates(file: Option<String>) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(path) = file.map(PathBuf::from) else {
        return Ok(None);
    };
    match fs::read(&path) {
        Ok(pem) => Ok(Some(pem)),
        Err(source) => Err(ConfigError::Certificates { path, source }),
    }
}

/// Collects `//host/path/:_authToken` and its older relatives, the strongest layer first.
fn credentials(layers: &[HashMap<String, String>]) -> HashMap<String, String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let mut found = HashMap::new();
    for layer in layers {
        for (key, value) in layer {
            let Some((place, kind)) = key
                .rsplit_once(':')
                .filter(|(place, _)| place.starts_with("//"))
            else {
                continue;
            };
            let header = match kind {
                "_authToken" => format!("Bearer {value}"),
                "_auth" => format!("Basic {value}"),
                "_password" => {
                    let Some(name) = layer.get(&format!("{place}:username")) else {
                        continue;
                    };
                    let Ok(password) = STANDARD.decode(value) else {
                        continue;
                    };
                    let pair = [name.as_bytes(), b":", &password].concat();
                    format!("Basic {}", STANDARD.encode(pair))
                }
                _ => continue,
            };
            let place = if place.ends_with('/') {
                place.to_owned()
            } else {
                format!("{place}/")
            };
            found.entry(place).or_insert(header);
        }
    }
    found
}

#[cfg(test)]
mod tests;
