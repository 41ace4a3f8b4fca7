use super::*;

fn target(text: &str) -> Result<String, ParseHostError> {
    Target::parse(text, Some(443)).map(|target| target.to_string())
}

#[test]
fn one_host_has_one_spelling() {
    for (text, expected) in [
        ("Example.COM", "example.com:443"),
        ("example.com.", "example.com:443"),
        ("example.com:80", "example.com:80"),
        ("1.2.3.4:80", "1.2.3.4:80"),
        ("[::1]:80", "[::1]:80"),
        ("[0:0:0:0:0:0:0:1]", "[::1]:443"),
        ("::1", "[::1]:443"),
        ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80"),
    ] {
        assert_eq!(target(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn odd_spellings_of_addresses_are_refused() {
    for text in [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.0.0.1",
        "127.1",
        "0177.0.0.1",
        "127.0.0.0x1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "example.0x7f",
    ] {
        assert!(
            matches!(target(text), Err(ParseHostError::OddAddress(_))),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for text in [
        "",
        "a b",
        "exa%6dple.com",
        "exämple.com",
        "a..b",
        ".a",
        "[::1%eth0]",
        "[::1",
        "a/b",
        "a@b",
        "example.com:",
        "example.com:0",
        "example.com:99999",
        "example.com:+80",
        "a\\b",
        "a#b",
    ] {
        assert!(target(text).is_err(), "{text}");
    }
}

#[test]
fn patterns_print_as_they_were_written() {
    for text in [
        "example.com",
        "*.example.com",
        "example.com:8443",
        "*.example.com:8443",
    ] {
        assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
    }
}

#[test]
fn a_wildcard_stands_only_at_the_front_of_a_name() {
    for text in [
        "*",
        "*.",
        "a.*.com",
        "*example.com",
        "*.1.2.3.4",
        "**.example.com",
    ] {
        assert!(text.parse::<HostPattern>().is_err(), "{text}");
    }
}
