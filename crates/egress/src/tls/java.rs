//! Whom Java trusts: it reads no list in PEM but a key store, of which this writes the oldest kind
//! ("JKS"), because every Java reads it and it is a list of certificates with a sum.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

/// The password that everybody knows and no Java asks for: the sum is made with it.
const PASSWORD: &str = "changeit";

/// What the sum begins with, behind the password.
const SALT: &[u8] = b"Mighty Aphrodite";

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// A certificate that is trusted, in contrast to a key of one's own.
const TRUSTED: u32 = 2;

/// Entries of a store, for so many certificates.
#[derive(Default)]
pub(crate) struct Entries {
    bytes: Vec<u8>,
    count: u32,
}

impl Entries {
    pub(crate) fn add(&mut self, certificate: &CertificateDer<'_>) {
        let alias = format!("hostel-{}", self.count);
        self.number(TRUSTED);
        self.text(&alias);
        // When it was added: nobody asks.
        self.bytes.extend(0_u64.to_be_bytes());
        self.text("X.509");
        self.number(u32::try_from(certificate.len()).expect("certificates are short"));
        self.bytes.extend_from_slice(certificate);
        self.count += 1;
    }

    /// A store with these entries and one more.
    pub(crate) fn store_with(&self, own: &CertificateDer<'_>) -> Vec<u8> {
        let mut all = Entries {
            bytes: Vec::with_capacity(self.bytes.len() + 4096),
            count: self.count,
        };
        all.number(MAGIC);
        all.number(VERSION);
        all.number(self.count + 1);
        all.bytes.extend_from_slice(&self.bytes);
        all.add(own);
        let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        for unit in PASSWORD.encode_utf16() {
            sum.update(&unit.to_be_bytes());
        }
        sum.update(SALT);
        sum.update(&all.bytes);
        all.bytes.extend_from_slice(sum.finish().as_ref());
        all.bytes
    }

    fn number(&mut self, number: u32) {
        self.bytes.extend(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("these texts are short");
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_store_is_what_java_reads() {
        let authority = crate::tls::Authority::new().unwrap();
        let other = crate::tls::Authority::new().unwrap();
        let mut entries = Entries::default();
        entries.add(other.der());
        let store = entries.store_with(authority.der());
        assert_eq!(
            store[..12],
            [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]
        );
        let path = std::env::temp_dir().join(format!("hostel-java-{}", std::process::id()));
        std::fs::write(&path, store).unwrap();
        let read = Command::new("keytool")
            .args(["-list", "-storepass", PASSWORD, "-keystore"])
            .arg(&path)
            .output();
        std::fs::remove_file(&path).unwrap();
        let Ok(read) = read else {
            eprintln!("skipped: keytool is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&read.stdout);
        assert!(read.status.success(), "{said}");
        assert!(
            said.contains("hostel-0") && said.contains("hostel-1"),
            "{said}"
        );
    }
}
