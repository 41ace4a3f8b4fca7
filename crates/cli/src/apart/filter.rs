//! The server's filter of system calls, from the list in `seccomp.json`, which has a reason for each group.
//!
//! There are two filters because one has a single answer to what it matches: the first allows what is
//! listed and answers ENOSYS to everything else, as a kernel that does not have the call would, so that
//! libraries fall back; the second, asked first, answers EPERM to what is refused on purpose.

use std::collections::BTreeSet;

use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::Failure;

const LIST: &str = include_str!("seccomp.json");

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "about")]
    _about: Vec<String>,
    allow: Vec<Group>,
    refuse: Vec<Group>,
}

/// System calls with the reason they are where they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "reason")]
    _reason: String,
    syscalls: Vec<String>,
    /// Alternatives, each a list of conditions on arguments that must all hold; none means always.
    #[serde(default)]
    when: Vec<Vec<Value>>,
}

/// Puts the filters on this thread and all that it starts. They never come off.
pub fn apply() -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::caused("cannot filter calls", error);
    let [allowed, refused] =
        compiled().map_err(|text| Failure::new(format!("in the filter: {text}")))?;
    apply_filter(&allowed).map_err(|error| failed(&error))?;
    // Installed last, so that its EPERM goes before the other's ENOSYS.
    apply_filter(&refused).map_err(|error| failed(&error))
}

fn compiled() -> Result<[BpfProgram; 2], String> {
    let list: List = serde_json::from_str(LIST).map_err(|error| error.to_string())?;
    let (no, yes) = (json!({ "errno": EPERM }), json!("allow"));
    Ok([
        compile(&list.allow, json!({ "errno": ENOSYS }), yes.clone())?,
        compile(&list.refuse, yes, no)?,
    ])
}

fn compile(groups: &[Group], mismatch: Value, matched: Value) -> Result<BpfProgram, String> {
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|error: seccompiler::BackendError| error.to_string())?;
    let lacking = lacking(arch, groups);
    let mut rules = Vec::new();
    for group in groups {
        for name in group
            .syscalls
            .iter()
            .filter(|name| !lacking.contains(name.as_str()))
        {
            if group.when.is_empty() {
                rules.push(json!({ "syscall": name }));
            }
            for conditions in &group.when {
                rules.push(json!({ "syscall": name, "args": conditions }));
            }
        }
    }
    let filter =
        json!({ "f": { "mismatch_action": mismatch, "match_action": matched, "filter": rules } });
    let mut programs = compile_from_json(filter.to_string().as_bytes(), arch)
        .map_err(|error| error.to_string())?;
    programs
        .remove("f")
        .ok_or_else(|| "nothing was compiled".to_owned())
}

/// What this machine does not have: others than x86_64 lack the calls that Linux dropped before it came to
/// them. The list is of x86_64, where all names exist.
fn lacking(arch: TargetArch, groups: &[Group]) -> BTreeSet<&str> {
    if arch == TargetArch::x86_64 {
        return BTreeSet::new();
    }
    let names = groups.iter().flat_map(|group| &group.syscalls);
    let exists = |name: &str| {
        let filter = json!({ "f": { "mismatch_action": "allow", "match_action": "trap",
            "filter": [{ "syscall": name }] } });
        compile_from_json(filter.to_string().as_bytes(), arch).is_ok()
    };
    names
        .map(String::as_str)
        .filter(|name| !exists(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_compiles_and_every_group_has_a_reason() {
        let [allowed, refused] = compiled().unwrap();
        assert!(allowed.len() > 100 && refused.len() > 50);
        let list: List = serde_json::from_str(LIST).unwrap();
        let mut seen = BTreeSet::new();
        for group in &list.allow {
            assert!(group._reason.len() > 10);
            for name in &group.syscalls {
                assert!(seen.insert(name), "{name} is allowed twice");
            }
        }
    }

    #[test]
    fn nothing_is_allowed_by_which_a_program_is_started_or_an_identity_changed() {
        let list: List = serde_json::from_str(LIST).unwrap();
        let names = |groups: &[Group]| -> BTreeSet<String> {
            let all = groups.iter().flat_map(|group| group.syscalls.clone());
            all.collect()
        };
        let (allowed, refused) = (names(&list.allow), names(&list.refuse));
        for name in [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "ptrace",
            "mount",
            "unshare",
            "setns",
            "bpf",
            "setuid",
            "setresuid",
            "capset",
            "chown",
            "io_uring_setup",
            "keyctl",
        ] {
            assert!(!allowed.contains(name) && refused.contains(name), "{name}");
        }
        assert!(!allowed.contains("clone3"));
    }
}
