//! Words, exit codes and what is said about wrong ones.

use crate::home::{Home, Ran};

#[test]
fn help_and_version_are_no_errors() {
    let home = Home::new();
    for words in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["cli", "install", "--help"],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{words:?}");
        assert!(!ran.out.is_empty(), "{words:?}");
    }
}

#[test]
fn wrong_words_end_with_2_and_say_so_on_standard_error() {
    let home = Home::new();
    for words in [
        &[][..],
        &["fly"],
        &["run"],
        &["send", "sesn_1"],
        &["stop", "sesn_1", "--archive", "--delete"],
        &["run", "x", "--keep", "--output", "out"],
        &["fork"],
        &["fork", "sesn_1", "--workspace", "other"],
        &["keys", "create", "ci", "--scope", "root"],
        &["workspaces", "set", "wrkspc_1", "--limit", "max_sessions"],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(!ran.err.is_empty(), "{words:?}");
    }
}

#[test]
fn a_missing_key_is_told_with_the_next_step() {
    let home = Home::new();
    for words in [
        &["ps"][..],
        &["events", "sesn_1"],
        &["send", "sesn_1", "x"],
        &["stop", "sesn_1"],
        &["fork", "sesn_1"],
        &["keys", "list"],
        &["workspaces", "create", "w"],
    ] {
        let ran = home.run(words);
        assert_eq!(ran.code, 2, "{words:?}");
        assert!(ran.err.contains("HOSTEL_API_KEY"), "{}", ran.err);
    }
}

#[test]
fn an_absent_server_is_told_with_the_next_step() {
    let home = Home::new();
    let mut command = home.hostel(&["ps", "--server", "http://127.0.0.1:9"]);
    command.env("HOSTEL_API_KEY", "k");
    let ran = Ran::of(command);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("cannot reach http://127.0.0.1:9") && ran.err.contains("hostel serve"),
        "{}",
        ran.err
    );
}

#[test]
fn run_without_any_model_says_what_the_choices_are() {
    let ran = Home::new().run(&["run", "hello"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("ANTHROPIC_API_KEY") && ran.err.contains("--offline"),
        "{}",
        ran.err
    );
}

#[test]
fn with_json_a_failure_is_json_too() {
    let ran = Home::new().run(&["ps", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).expect("one JSON value");
    assert_eq!(error["error"]["message"], "no key for the server");
    assert!(error["error"]["next"].is_string());
}

#[test]
fn doctor_tells_the_host_and_changes_nothing() {
    let home = Home::new();
    let report = home.run(&["doctor", "--json"]).json();
    assert!(
        report["host"].is_object() && report["claude"].is_array(),
        "{report}"
    );
    assert_eq!(report["model"]["key"], "not set");
    let left = std::fs::read_dir(home.path())
        .expect("the home is there")
        .count();
    assert_eq!(left, 0, "doctor left something in the home");
}

#[test]
fn an_empty_list_of_versions_is_said() {
    let ran = Home::new().run(&["cli", "list"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("hostel cli install"), "{}", ran.out);
}
