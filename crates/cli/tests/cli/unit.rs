//! The unit of systemd in `dist/`: what it says is what the program can do and what sandboxes can live with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Settings under which no sandbox could be made; the unit says why each is left out.
const IMPOSSIBLE: [&str; 12] = [
    "DevicePolicy",
    "DynamicUser",
    "PrivateDevices",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectKernelLogs",
    "ProtectKernelTunables",
    "ProtectProc",
    "RestrictNamespaces",
    "SystemCallFilter",
    "User",
];

/// What making sandboxes needs of root.
const NEEDED: [&str; 12] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
];

fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/hostel.service");
    fs::read_to_string(path).expect("the unit is part of the sources")
}

/// The settings of all sections, each with its values.
fn settings() -> BTreeMap<String, Vec<String>> {
    let text = text();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '['])) {
        if let Some((key, value)) = line.split_once('=') {
            all.entry(key.into()).or_default().push(value.into());
        }
    }
    all
}

#[test]
fn the_unit_lets_the_server_end_in_order_and_be_started_again() {
    let settings = settings();
    let one = |key: &str| match settings.get(key).map(Vec::as_slice) {
        Some([value]) => value.clone(),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(one("ExecStart"), "/usr/local/bin/hostel serve");
    assert_eq!(one("KillMode"), "mixed");
    assert_eq!(one("Restart"), "always");
    let usual = server::config::Config::default().shutdown_timeout_ms;
    let stops: u64 = one("TimeoutStopSec").parse().unwrap();
    assert!(stops * 1000 >= 2 * usual + 30_000);
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("PrivateTmp", "yes"),
        ("Delegate", "yes"),
        ("StateDirectory", "hostel"),
    ] {
        assert_eq!(one(key), value, "{key}");
    }
    // systemd gives the state directory itself to root at each start, with all that is in it.
    let data = "HOSTEL_DATA=/var/lib/hostel/data".to_owned();
    assert!(settings["Environment"].contains(&data));
    for variable in &settings["Environment"] {
        let name = variable.split('=').next().unwrap();
        let known = server::config::SETTINGS
            .iter()
            .any(|setting| setting.variable == name);
        assert!(known || name == "HOSTEL_CONFIG", "{name}");
    }
}

#[test]
fn the_unit_takes_nothing_that_sandboxes_are_made_of() {
    let settings = settings();
    for key in IMPOSSIBLE {
        assert!(!settings.contains_key(key), "{key}");
    }
    let dropped = settings["CapabilityBoundingSet"].join(" ");
    assert!(dropped.contains("~CAP_SYS_MODULE") || dropped.contains(" CAP_SYS_MODULE"));
    for line in &settings["CapabilityBoundingSet"] {
        assert!(line.starts_with('~'), "{line} would leave these alone");
        for capability in NEEDED {
            let mut words = line.trim_start_matches('~').split(' ');
            assert!(words.all(|word| word != capability), "{capability}");
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let home = tempfile::tempdir().unwrap();
    let unit = home.path().join("hostel.service");
    let program = env!("CARGO_BIN_EXE_hostel");
    fs::write(&unit, text().replace("/usr/local/bin/hostel", program)).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output();
    let Ok(verified) = verified else {
        eprintln!("skipped: systemd-analyze is not installed (package systemd)");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("hostel"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
