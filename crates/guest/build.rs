//! Compiles `seccomp.json` into the two filters that the guest loads at start.
//!
//! Compiling at build time keeps the compiler out of the guest and its milliseconds out of every
//! start. There are two filters because one has a single answer to what it matches: the first
//! allows what is listed and answers ENOSYS to everything else, as a kernel that does not have
//! the call would, so that libraries fall back; the second, asked first, answers EPERM to what is
//! refused on purpose.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf};

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

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
    reason: String,
    syscalls: Vec<String>,
    /// Alternatives, each a list of conditions on arguments that must all hold; none means
    /// always.
    #[serde(default)]
    when: Vec<Vec<Value>>,
}

fn main() {
    println!("cargo::rerun-if-changed=seccomp.json");
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string("seccomp.json").expect("seccomp.json is next to this script");
    let list: List = serde_json::from_str(&text).expect("seccomp.json has the shape above");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let arch: TargetArch = arch
        .as_str()
        .try_into()
        .expect("the filter knows this machine");

    let mut code = String::new();
    let allowed = compile(
        arch,
        &list.allow,
        json!({ "errno": ENOSYS }),
        json!("allow"),
    );
    let refused = compile(
        arch,
        &list.refuse,
        json!("allow"),
        json!({ "errno": EPERM }),
    );
    emit(&mut code, "ALLOWED", &allowed);
    emit(&mut code, "REFUSED", &refused);
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("filters.rs"), code).expect("OUT_DIR is writable");
}

fn compile(arch: TargetArch, groups: &[Group], mismatch: Value, matched: Value) -> BpfProgram {
    let mut rules = Vec::new();
    let mut seen = BTreeMap::new();
    for group in groups {
        assert!(!group.reason.is_empty(), "every group has a reason");
        for name in &group.syscalls {
            let before = seen.insert(name, &group.reason);
            assert!(before.is_none(), "{name} is listed twice in one half");
            assert!(exists(TargetArch::x86_64, name), "{name} is no system call");
            // Other machines lack the calls that Linux dropped before it came to them.
            if !exists(arch, name) {
                continue;
            }
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
        .unwrap_or_else(|error| panic!("compiling seccomp.json: {error}"));
    programs.remove("f").expect("it was put in above")
}

/// Whether a machine has a system call of this name; the table itself is not public.
fn exists(arch: TargetArch, name: &str) -> bool {
    let filter = json!({ "f": {
        "mismatch_action": "allow", "match_action": "trap", "filter": [{ "syscall": name }],
    } });
    compile_from_json(filter.to_string().as_bytes(), arch).is_ok()
}

fn emit(code: &mut String, name: &str, program: &BpfProgram) {
    writeln!(code, "static {name}: [sock_filter; {}] = [", program.len()).expect("to a string");
    for step in program {
        let (op, jt, jf, k) = (step.code, step.jt, step.jf, step.k);
        writeln!(
            code,
            "    sock_filter {{ code: {op}, jt: {jt}, jf: {jf}, k: {k} }},"
        )
        .expect("to a string");
    }
    code.push_str("];\n");
}
