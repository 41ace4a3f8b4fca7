//! The authority of one sandbox: it signs for the hosts that egress speaks for inside, and nobody
//! outside this sandbox has reason to believe it.
//!
//! Its key is made with it, is nowhere but in this process's memory, and ends with it. All hosts share
//! one key of their own, because it is the same process that holds it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{H1, H2};

/// Hosts whose certificates are kept. Beyond it all are forgotten and made again when asked for.
const MAX_HOSTS: usize = 256;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A clock inside may be somewhat behind.
const BEFORE: Duration = DAY;
/// Longer than any sandbox lives.
const AUTHORITY_LASTS: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Some clients believe no certificate that lasts longer than about a year.
const HOST_LASTS: Duration = Duration::from_secs(90 * 24 * 3600);
/// A certificate this old is made again.
const RENEWED_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The authority of one sandbox.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    der: CertificateDer<'static>,
    key: KeyPair,
    hosts: Mutex<HashMap<String, (Instant, Arc<ServerConfig>)>>,
}

/// Why an authority cannot be made, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The key or certificate.
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// What is made of them.
    #[error("a certificate could not be used")]
    Use(#[from] rustls::Error),
}

impl Authority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn new() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Hostel, for this sandbox alone");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        last(&mut params, AUTHORITY_LASTS);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            der: certificate.der().clone(),
            certificate: certificate.pem(),
            key: KeyPair::generate()?,
            hosts: Mutex::default(),
        })
    }

    /// Its certificate in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its certificate.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// How to serve `host`, a name or an address.
    pub(crate) fn serving(&self, host: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, config)) = hosts.get(host)
            && made.elapsed() < RENEWED_AFTER
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.make(host)?);
        if hosts.len() >= MAX_HOSTS {
            hosts.clear();
        }
        hosts.insert(host.to_owned(), (Instant::now(), Arc::clone(&config)));
        Ok(config)
    }

    fn make(&self, host: &str) -> Result<ServerConfig, AuthorityError> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        // A common name has 64 characters at most; clients look at the alternative names.
        params.distinguished_name = named("Hostel");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        last(&mut params, HOST_LASTS);
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let chain = vec![CertificateDer::from(certificate)];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![H2.to_vec(), H1.to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(..)")
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn last(params: &mut CertificateParams, how_long: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + how_long).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_signed_for_once_and_the_key_is_not_shown() {
        let authority = Authority::new().unwrap();
        let first = authority.serving("a.example").unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &authority.serving("a.example").unwrap()
        ));
        authority.serving("10.0.0.1").unwrap();
        assert!(
            authority
                .certificate()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
        assert!(!authority.certificate().contains("PRIVATE"));
        assert_eq!(format!("{authority:?}"), "Authority(..)");
    }

    #[test]
    fn the_hosts_that_are_kept_are_bounded() {
        let authority = Authority::new().unwrap();
        for number in 0..=MAX_HOSTS {
            authority.serving(&format!("h{number}.example")).unwrap();
        }
        assert!(authority.hosts.lock().unwrap().len() <= MAX_HOSTS);
    }
}
