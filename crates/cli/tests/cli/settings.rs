//! Flags before variables before the file, and what is said about wrong ones.

use crate::home::{Home, Ran};

#[test]
fn flags_go_before_variables_before_the_file() {
    let home = Home::new();
    std::fs::write(
        home.path().join("hostel.toml"),
        "data = \"/from/file\"\n[sandbox]\npids = 100\n",
    )
    .expect("written");
    let config = ["config", "--json", "--config", "hostel.toml"];
    let file = home.run(&config).json();
    assert_eq!(
        (&file["data"], &file["sandbox"]["pids"]),
        (&"/from/file".into(), &100.into())
    );

    let mut command = home.hostel(&config);
    command.env("HOSTEL_DATA", "/from/variable");
    assert_eq!(Ran::of(command).json()["data"], "/from/variable");

    let mut command = home.hostel(
        &[
            &config[..],
            &["--data", "/from/flag", "--set", "sandbox.pids=200"],
        ]
        .concat(),
    );
    command.env("HOSTEL_DATA", "/from/variable");
    let flags = Ran::of(command).json();
    assert_eq!(
        (&flags["data"], &flags["sandbox"]["pids"]),
        (&"/from/flag".into(), &200.into())
    );
}

#[test]
fn without_any_word_the_data_lies_in_the_users_own_directory() {
    let home = Home::new();
    let expected = home.path().join(".local/share/hostel");
    assert_eq!(
        home.run(&["config", "--json"]).json()["data"],
        expected.to_str().expect("text")
    );
}

#[test]
fn an_unknown_key_is_named_and_ends_with_2() {
    let home = Home::new();
    std::fs::write(home.path().join("hostel.toml"), "lissen = 1\n").expect("written");
    for words in [
        &["config", "--config", "hostel.toml"][..],
        &["serve", "--config", "hostel.toml"],
    ] {
        let ran = home.run(words);
        assert_eq!(ran.code, 2);
        assert!(
            ran.err.contains("lissen") && ran.err.contains("hostel.toml"),
            "{}",
            ran.err
        );
    }
    let ran = home.run(&["config", "--set", "colour=red"]);
    assert!(ran.code == 2 && ran.err.contains("colour"), "{}", ran.err);
}

#[test]
fn keys_are_never_shown() {
    let home = Home::new();
    for words in [&["config"][..], &["config", "--json"], &["doctor"]] {
        let mut command = home.hostel(words);
        command
            .env("ANTHROPIC_API_KEY", "sk-very-secret")
            .env("HOSTEL_API_KEY", "hk-very-secret");
        let ran = Ran::of(command);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(
            !ran.out.contains("very-secret") && !ran.err.contains("very-secret"),
            "{words:?}"
        );
    }
}

#[test]
fn the_schema_describes_the_configuration() {
    let schema = Home::new().run(&["config", "schema"]).json();
    assert!(schema["properties"]["listen"]["description"].is_string());
}
