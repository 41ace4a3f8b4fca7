//! Whom egress believes outside: the authorities that this machine trusts, and those that the operator
//! names.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::java::Entries;
use super::{H1, H2};
use crate::config::ConfigError;

/// Whom egress believes. The machine's authorities are read when they are first needed.
pub(crate) struct Trust {
    extra: Vec<CertificateDer<'static>>,
    configs: OnceCell<Configs>,
    bundle: OnceCell<Arc<str>>,
    java: OnceCell<Entries>,
}

/// How to connect: with HTTP/2 offered, and without.
struct Configs {
    two: Arc<ClientConfig>,
    one: Arc<ClientConfig>,
}

impl Trust {
    pub(crate) fn new(extra: &str) -> Result<Self, ConfigError> {
        let read = CertificateDer::pem_slice_iter(extra.as_bytes()).collect::<Result<_, _>>();
        Ok(Self {
            extra: read.map_err(|error| ConfigError::Authorities(error.to_string()))?,
            configs: OnceCell::new(),
            bundle: OnceCell::new(),
            java: OnceCell::new(),
        })
    }

    /// How to connect to a host, with HTTP/2 offered or not.
    pub(crate) async fn connecting(&self, two: bool) -> io::Result<Arc<ClientConfig>> {
        let made = async {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(self.all().await);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![H1.to_vec()];
            let one = Arc::new(config.clone());
            config.alpn_protocols = vec![H2.to_vec(), H1.to_vec()];
            let two = Arc::new(config);
            Ok::<_, io::Error>(Configs { two, one })
        };
        let configs = self.configs.get_or_try_init(|| made).await?;
        Ok(Arc::clone(if two { &configs.two } else { &configs.one }))
    }

    /// All of them in PEM.
    pub(crate) async fn bundle(&self) -> Arc<str> {
        let made = async {
            let mut text = String::new();
            for certificate in self.all().await {
                text.push_str(&pem(&certificate));
            }
            Arc::from(text)
        };
        Arc::clone(self.bundle.get_or_init(|| made).await)
    }

    /// All of them and one more, as Java reads it.
    pub(crate) async fn java(&self, own: &CertificateDer<'_>) -> Vec<u8> {
        let made = async {
            let mut entries = Entries::default();
            for certificate in self.all().await {
                entries.add(&certificate);
            }
            entries
        };
        self.java.get_or_init(|| made).await.store_with(own)
    }

    /// Those that the operator names, in PEM.
    pub(crate) fn extra(&self) -> String {
        self.extra
            .iter()
            .map(|certificate| pem(certificate))
            .collect()
    }

    /// Certificates of this machine that cannot be read are left out: nothing is trusted by them.
    async fn all(&self) -> Vec<CertificateDer<'static>> {
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let mut all = found.map(|found| found.certs).unwrap_or_default();
        all.extend(self.extra.iter().cloned());
        all
    }
}

/// A certificate in PEM.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        let line = std::str::from_utf8(line).expect("base64 is ASCII");
        let _ = writeln!(pem, "{line}");
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    #[tokio::test]
    async fn what_the_operator_names_is_believed_and_shown() {
        let authority = Authority::new().unwrap();
        let trust = Trust::new(authority.certificate()).unwrap();
        let bundle = trust.bundle().await;
        let own = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
        assert!(bundle.contains(&pem(&own)));
        assert_eq!(
            CertificateDer::from_pem_slice(pem(&own).as_bytes()).unwrap(),
            own
        );
        assert!(trust.connecting(true).await.is_ok());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(Trust::new(broken).is_err());
    }
}
