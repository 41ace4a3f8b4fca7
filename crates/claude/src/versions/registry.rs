//! The npm registry: which versions there are and where their packages lie.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Certificate, Client, NoProxy, Proxy, Response, StatusCode, Url, header};
use semver::{Version, VersionReq};
use serde::Deserialize;

use super::integrity::Integrity;
use super::npmrc::{ConfigError, DEFAULT_REGISTRY, Settings};
use super::platform::Platform;

/// What of a package's description is needed to install it.
const ABBREVIATED: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";

/// Bytes a package's description may have: hundreds of versions take about one megabyte; a larger
/// answer is an error.
const MAX_METADATA: usize = 64 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two pieces of an answer, however long the whole takes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A registry and the build of the CLI to get from it.
#[derive(Debug, Clone)]
pub struct Registry {
    settings: Settings,
    platform: Platform,
}

/// The registry could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// npm's settings make no client.
    #[error("npm's settings for the registry cannot be used")]
    Client(#[source] reqwest::Error),
    /// There was no answer, or it was cut.
    #[error("cannot reach the npm registry at {host}")]
    Connect {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The registry refused.
    #[error("the npm registry at {host} answered {status} for {package}")]
    Status {
        /// Which host.
        host: String,
        /// With what.
        status: StatusCode,
        /// For what.
        package: String,
    },
    /// The answer is not a package's description.
    #[error("the npm registry at {host} did not answer with a description of {package}")]
    Metadata {
        /// Which host.
        host: String,
        /// Of what.
        package: String,
    },
    /// There is no version like that.
    #[error("the npm registry at {host} has no version of {package} that fits {requirement}")]
    NoVersion {
        /// Which host.
        host: String,
        /// Of what.
        package: String,
        /// What was asked for.
        requirement: String,
    },
    /// The package has no hash to check it with.
    #[error(
        "the npm registry publishes no sha512 integrity for {package} {version}, so it cannot be verified"
    )]
    NoIntegrity {
        /// Which package.
        package: String,
        /// Which version.
        version: Version,
    },
}

/// A package to get.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) version: Version,
    pub(super) tarball: Url,
    pub(super) integrity: Integrity,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "dist-tags")]
    tags: HashMap<String, String>,
    #[serde(default)]
    versions: HashMap<String, Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    dist: Dist,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    #[serde(default)]
    integrity: Option<String>,
}

/// An open connection to the registry.
pub(super) struct Session<'a> {
    registry: &'a Registry,
    client: Client,
    base: Url,
}

impl Registry {
    /// The registry that npm's own settings name, for this machine's build; see the head of
    /// `npmrc.rs` for which settings count. Where the CLI has no build for this machine the one for
    /// x86-64 is taken; [`Registry::with_platform`] chooses another.
    pub fn from_npm_config(
        env: &dyn Fn(&str) -> Option<String>,
        cwd: &Path,
        home: &Path,
    ) -> Result<Self, ConfigError> {
        let platform = Platform::host().unwrap_or(Platform::LinuxX64);
        Ok(Self {
            settings: Settings::read(env, cwd, home)?,
            platform,
        })
    }

    /// The same registry for another build.
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// The registry's address.
    pub fn url(&self) -> &str {
        &self.settings.registry
    }

    /// The package that is installed.
    pub fn package(&self) -> String {
        self.platform.package()
    }

    pub(super) fn connect(&self) -> Result<Session<'_>, RegistryError> {
        let settings = &self.settings;
        let mut builder = Client::builder()
            .user_agent(concat!("hostel/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // Only what the settings say, never the process's own environment.
            .no_proxy();
        let exempt = settings.no_proxy.as_deref().and_then(NoProxy::from_string);
        if let Some(proxy) = &settings.https_proxy {
            let proxy = Proxy::https(proxy).map_err(RegistryError::Client)?;
            builder = builder.proxy(proxy.no_proxy(exempt.clone()));
        }
        if let Some(proxy) = &settings.http_proxy {
            let proxy = Proxy::http(proxy).map_err(RegistryError::Client)?;
            builder = builder.proxy(proxy.no_proxy(exempt));
        }
        if let Some(pem) = &settings.certificates {
            let certificates = Certificate::from_pem_bundle(pem).map_err(RegistryError::Client)?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(RegistryError::Client)?;
        let base =
            Url::parse(&settings.registry).expect("settings hold an address that was parsed");
        Ok(Session {
            registry: self,
            client,
            base,
        })
    }
}

impl Session<'_> {
    /// The newest release that fits; without a requirement, what the registry calls latest.
    pub(super) async fn release(
        &self,
        requirement: Option<&VersionReq>,
    ) -> Result<Release, RegistryError> {
        let package = self.registry.package();
        let metadata = self.metadata(&package).await?;
        let wanted = match requirement {
            None => metadata
                .tags
                .get("latest")
                .and_then(|version| Version::parse(version).ok()),
            Some(requirement) => metadata
                .versions
                .keys()
                .filter_map(|version| Version::parse(version).ok())
                .filter(|version| requirement.matches(version))
                .max(),
        };
        let manifest = wanted.and_then(|version| {
            let manifest = metadata.versions.get(&version.to_string())?;
            Some((version, manifest))
        });
        let Some((version, manifest)) = manifest else {
            return Err(RegistryError::NoVersion {
                host: self.host(),
                package,
                requirement: requirement.map_or_else(|| "latest".to_owned(), VersionReq::to_string),
            });
        };
        let Some(integrity) = manifest
            .dist
            .integrity
            .as_deref()
            .and_then(Integrity::parse)
        else {
            return Err(RegistryError::NoIntegrity { package, version });
        };
        let tarball = Url::parse(&manifest.dist.tarball).map_err(|_| RegistryError::Metadata {
            host: self.host(),
            package,
        })?;
        Ok(Release {
            version,
            tarball: self.own_host(tarball),
            integrity,
        })
    }

    /// Begins to fetch a package; the answer is good.
    pub(super) async fn tarball(&self, release: &Release) -> Result<Response, RegistryError> {
        self.get(release.tarball.clone(), "*/*").await
    }

    /// A failure of a transfer that had begun.
    pub(super) fn cut(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Connect {
            host: self.host(),
            source: source.without_url(),
        }
    }

    async fn metadata(&self, package: &str) -> Result<Metadata, RegistryError> {
        let bad = || RegistryError::Metadata {
            host: self.host(),
            package: package.to_owned(),
        };
        let url = self
            .base
            .join(&package.replace('/', "%2f"))
            .map_err(|_| bad())?;
        let response = self.get(url, ABBREVIATED).await?;
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| self.cut(error))?);
            if body.len() > MAX_METADATA {
                return Err(bad());
            }
        }
        serde_json::from_slice(&body).map_err(|_| bad())
    }

    async fn get(&self, url: Url, accept: &str) -> Result<Response, RegistryError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = self.client.get(url.clone()).header(header::ACCEPT, accept);
        if let Some(credential) = self.registry.settings.credentials.header(&url) {
            let mut value = header::HeaderValue::from_str(&credential)
                .unwrap_or_else(|_| header::HeaderValue::from_static(""));
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = request.send().await.map_err(|error| self.cut(error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(RegistryError::Status {
                host,
                status,
                package: self.registry.package(),
            });
        }
        Ok(response)
    }

    /// Mirrors often repeat addresses of the public registry; like npm, ask the mirror instead.
    fn own_host(&self, mut tarball: Url) -> Url {
        let public = Url::parse(DEFAULT_REGISTRY).expect("the constant is an address");
        if tarball.host_str() == public.host_str() && self.base.host_str() != public.host_str() {
            let path = format!(
                "{}{}",
                self.base.path().trim_end_matches('/'),
                tarball.path()
            );
            tarball = self.base.clone();
            tarball.set_path(&path);
        }
        tarball
    }

    fn host(&self) -> String {
        self.base.host_str().unwrap_or_default().to_owned()
    }
}
