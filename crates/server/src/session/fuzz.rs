//! Any bytes as what comes out of a sandbox into a session, and as an environment's configuration.

use api::environment::CreateEnvironment;
use api::environment::Networking as Declared;
use claude::frame::Frame;
use egress::{Networking, Operator, Target, Verdict, decide};

use super::keep::unpack;
use super::reach::environment_policy;
use super::translate::translate;
use crate::blobs::Blobs;
use crate::ids::Ids;

#[test]
fn any_frame_of_claude_becomes_words_of_its_own_size() {
    fuzz::target!("said", 20_000, |data| {
        for line in data.split(|byte| *byte == b'\n') {
            let Ok(frame) = Frame::parse(line) else {
                continue;
            };
            let said = translate(frame);
            // A frame names few things, and what it does not name is not made up.
            assert!(said.len() <= line.len(), "{said:?}");
            for one in said {
                assert!(format!("{one:?}").len() <= 64 * line.len() + 1024);
            }
        }
    });
}

#[test]
fn any_archive_of_results_stays_within_its_bounds() {
    /// Bytes of all results together.
    const MOST: u64 = 4096;

    fuzz::target!("outputs", 2_000, |data| {
        let dir = tempfile::tempdir_in(fuzz::scratch()).unwrap();
        let blobs = Blobs::new(&dir.path().join("blobs"));
        let unpacked = unpack(data, &blobs, &Ids::counted(), MOST);
        let kept = std::fs::read_dir(blobs.dir()).unwrap();
        let sizes = kept.map(|file| file.unwrap().metadata().unwrap().len());
        assert!(sizes.sum::<u64>() <= MOST);
        for output in unpacked.unwrap_or_default() {
            let file = std::fs::metadata(blobs.path(&output.id)).unwrap();
            assert_eq!(file.len(), output.size_bytes);
        }
        let names = std::fs::read_dir(dir.path()).unwrap();
        assert_eq!(names.count(), 1, "nothing lies beside the blobs");
    });
}

/// What the API accepts is what egress enforces: no rule is read by one and not by the other.
#[test]
fn any_environment_that_is_accepted_is_enforced_as_it_reads() {
    fuzz::target!("environment", 10_000, |data| {
        let Ok(environment) = api::read::body::<CreateEnvironment>(data) else {
            return;
        };
        let config = environment.definition.config;
        let stored = serde_json::to_value(&config).expect("it is JSON");
        let policy = environment_policy(&stored);
        assert_eq!(policy.rules.len(), config.egress.rules.len());
        for (rule, declared) in policy.rules.iter().zip(&config.egress.rules) {
            let allows = declared.action == api::environment::egress::Action::Allow;
            assert_eq!(rule.allow, allows, "{declared:?}");
            assert_eq!(rule.host.is_none(), declared.host == "*", "{declared:?}");
            assert_eq!(rule.path.is_some(), declared.path.is_some(), "{declared:?}");
            assert_eq!(rule.methods, declared.methods);
        }
        match (&policy.networking, &config.networking) {
            (Networking::Unrestricted, Declared::Unrestricted) => {}
            (Networking::Limited { allowed_hosts, .. }, Declared::Limited(limited)) => {
                assert_eq!(allowed_hosts.len(), limited.allowed_hosts.len());
                if policy.rules.is_empty() {
                    let elsewhere = Target::new("elsewhere.invalid", 443).expect("it is a name");
                    let verdict = decide(&policy, &Operator::default(), &elsewhere, "GET", "/");
                    let listed = limited
                        .allowed_hosts
                        .iter()
                        .any(|host| host.ends_with("invalid"));
                    assert!(listed || matches!(verdict, Verdict::Deny { .. }));
                }
            }
            (policy, declared) => panic!("{policy:?} {declared:?}"),
        }
    });
}
