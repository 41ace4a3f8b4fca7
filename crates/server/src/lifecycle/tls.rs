//! TLS with a certificate and key from files, which are read again when they change. A pair that does
//! not fit, as while one of two files is replaced, changes nothing: what was good goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::Lifecycle;
use crate::config;

/// How often the files are looked at. Certificates change some times a year; a look is two calls of the
/// system.
const EVERY: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what} in PEM", .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// A certificate or a key.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// Key and certificate do not go together, or are of a kind that is not known.
    #[error("the key in {} cannot be used with the certificate", .path.display())]
    Pair {
        /// The key's file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Certificate and key on disk.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// When both files were written last.
type Stamp = [Option<SystemTime>; 2];

/// The certificate that is shown now.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

/// TLS for the listener.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    files: Files,
    stamp: Stamp,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(shown.clone())
    }
}

impl Tls {
    /// With the files of the settings; `None` when they name none.
    pub(super) async fn load(config: &config::Tls) -> Result<Option<Tls>, TlsError> {
        let (Some(certificate), Some(key)) = (&config.cert_file, &config.key_file) else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        // Before the files are read, so that a change in between is seen.
        let stamp = files.stamp().await;
        let shown = Arc::new(Shown(RwLock::new(Arc::new(files.read().await?))));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what the default versions need")
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            shown,
            files,
            stamp,
        }))
    }

    /// What makes TLS of a connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Reads the files again whenever they change, until the server stops.
    pub(super) async fn watch(mut self, lifecycle: Lifecycle) {
        let mut every = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = lifecycle.stopping() => return,
                _ = every.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let stamp = self.files.stamp().await;
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        match self.files.read().await {
            Ok(fresh) => {
                let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
                *shown = Arc::new(fresh);
                info!("the certificate was changed and is read again");
            }
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "the certificate was changed and cannot be used; the one before is still shown"
            ),
        }
    }
}

impl Files {
    async fn stamp(&self) -> Stamp {
        let written = async |path: &Path| {
            let found = tokio::fs::metadata(path).await.ok()?;
            found.modified().ok()
        };
        [written(&self.certificate).await, written(&self.key).await]
    }

    async fn read(&self) -> Result<CertifiedKey, TlsError> {
        let certificate = bytes(&self.certificate).await?;
        let key = bytes(&self.key).await?;
        let wrong = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<_, _>>()
            .map_err(wrong(&self.certificate, "certificate"))?;
        if chain.is_empty() {
            return Err(wrong(&self.certificate, "certificate")(
                pem::Error::NoItemsFound,
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(wrong(&self.key, "key"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|source| {
            TlsError::Pair {
                path: self.key.clone(),
                source,
            }
        })
    }
}

async fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
