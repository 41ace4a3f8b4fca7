//! What was decided on the way out of a sandbox: an extension of the public contract.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// One decision and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// `audit_…`.
    pub id: String,
    /// Always `audit_record`.
    #[serde(rename = "type")]
    pub kind: AuditTag,
    /// The session that asked. It may have been deleted since.
    pub session_id: String,
    /// When it asked.
    pub created_at: Timestamp,
    /// Milliseconds from there to its end.
    pub latency_ms: u64,
    /// Where to, as far as that could be read: a name or an address.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The method of HTTP; `CONNECT` for a tunnel that was not looked into, `DNS` for a name that was
    /// asked for, the protocol for what was sent elsewhere than by the ways out.
    pub method: Option<String>,
    /// The path without its query, where it was seen; 1,024 characters of it.
    pub path: Option<String>,
    /// What was decided.
    pub verdict: Verdict,
    /// The rule that said so: `rules.3`, `allowed-hosts a.example`, `limits.bytes_out`, …
    pub rule: String,
    /// The status that the sandbox got.
    pub status: Option<u16>,
    /// Bytes of the body, or of the tunnel, that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// The credential that was put in.
    pub credential_id: Option<String>,
    /// What ended it early: `policy-changed`, `limits.bytes_in`, `broken-off`, …; `goes-on` when it did
    /// not end, and more records of it follow.
    pub ended_early: Option<String>,
    /// How many attempts the record stands for, where they are recorded together.
    pub attempts: Option<u64>,
    /// With the verdict `lost`: how many decisions could not be recorded.
    pub lost: Option<u64>,
}

crate::literal! {
    /// The `type` of a decision.
    AuditTag = "audit_record"
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It could leave.
    Allow,
    /// It was refused.
    Deny,
    /// Nothing: the record stands for decisions that could not be recorded.
    Lost,
}

impl Verdict {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Lost => "lost",
        }
    }

    /// Reads what [`Verdict::name`] writes.
    #[must_use]
    pub fn of(name: &str) -> Option<Verdict> {
        let all = [Verdict::Allow, Verdict::Deny, Verdict::Lost];
        all.into_iter().find(|verdict| verdict.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_written_as_it_is_named() {
        for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Lost] {
            assert_eq!(Verdict::of(verdict.name()), Some(verdict));
            assert_eq!(serde_json::json!(verdict), verdict.name());
        }
        assert_eq!(Verdict::of("Allow"), None);
    }
}
