use super::*;
use crate::policy::Rule;

fn policy(networking: Networking) -> Policy {
    Policy {
        mcp_hosts: vec!["mcp.example.net:8443".parse().unwrap()],
        ..Policy::new(networking)
    }
}

fn operator() -> Operator {
    Operator {
        private_hosts: vec!["git.corp:3000".parse().unwrap()],
        package_hosts: vec!["npm.corp:4873".parse().unwrap()],
        private_addresses: false,
    }
}

fn limited(hosts: &[&str], allow_mcp_servers: bool) -> Policy {
    policy(Networking::Limited {
        allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        allow_mcp_servers,
        allow_package_managers: false,
    })
}

fn rule(policy: &Policy, target: &str) -> String {
    let target = Target::parse(target, Some(443)).unwrap();
    let whole = match reach(policy, &operator(), &target) {
        Reach::Whole(verdict) => sign(verdict),
        Reach::Requests => return "?".to_owned(),
    };
    let request = sign(decide(policy, &operator(), &target, "GET", "/"));
    assert_eq!(whole, request, "{target}");
    whole
}

fn sign(verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow { rule } => format!("+{rule}"),
        Verdict::Deny { rule, .. } => format!("-{rule}"),
    }
}

#[test]
fn unrestricted_means_web_ports_and_what_was_declared() {
    let policy = policy(Networking::Unrestricted);
    for (target, expected) in [
        ("example.com", "+unrestricted"),
        ("example.com:80", "+unrestricted"),
        ("example.com:22", "-port"),
        ("mcp.example.net:8443", "+mcp-server"),
        ("other.example.net:8443", "-port"),
        ("git.corp:3000", "+unrestricted"),
        ("git.corp:3001", "-port"),
    ] {
        assert_eq!(rule(&policy, target), expected, "{target}");
    }
}

#[test]
fn limited_means_the_list() {
    let policy = limited(
        &[
            "example.com",
            "*.github.com",
            "db.example.org:5432",
            "1.1.1.1",
        ],
        true,
    );
    for (target, expected) in [
        ("example.com", "+allowed-hosts example.com"),
        ("EXAMPLE.com.", "+allowed-hosts example.com"),
        ("www.example.com", "-allowed-hosts"),
        ("notexample.com", "-allowed-hosts"),
        ("example.com:8080", "-port"),
        ("api.github.com", "+allowed-hosts *.github.com"),
        ("a.b.github.com", "+allowed-hosts *.github.com"),
        ("github.com", "-allowed-hosts"),
        ("evilgithub.com", "-allowed-hosts"),
        ("db.example.org:5432", "+allowed-hosts db.example.org:5432"),
        ("db.example.org", "-port"),
        ("1.1.1.1", "+allowed-hosts 1.1.1.1"),
        ("mcp.example.net:8443", "+mcp-server"),
        ("mcp.example.net", "-allowed-hosts"),
        ("git.corp:3000", "-allowed-hosts"),
    ] {
        assert_eq!(rule(&policy, target), expected, "{target}");
    }
}

#[test]
fn mcp_servers_are_closed_when_the_environment_says_so() {
    assert_eq!(
        rule(&limited(&[], false), "mcp.example.net:8443"),
        "-mcp-servers"
    );
}

#[test]
fn package_managers_mean_the_registries_and_what_the_operator_adds() {
    let with = |allow_package_managers| {
        policy(Networking::Limited {
            allowed_hosts: Vec::new(),
            allow_mcp_servers: false,
            allow_package_managers,
        })
    };
    for (target, expected) in [
        ("registry.npmjs.org", "+package-manager"),
        ("files.pythonhosted.org", "+package-manager"),
        ("npm.corp:4873", "+package-manager"),
        ("npm.corp", "-allowed-hosts"),
        ("pypi.org:8443", "-allowed-hosts"),
        ("evil.pypi.org", "-allowed-hosts"),
    ] {
        assert_eq!(rule(&with(true), target), expected, "{target}");
        assert_eq!(rule(&with(false), target), "-allowed-hosts", "{target}");
    }
}

fn a_rule(allow: bool, host: &str, methods: &[&str], path: Option<&str>) -> Rule {
    Rule {
        allow,
        host: (host != "*").then(|| host.parse().unwrap()),
        ports: Vec::new(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        path: path.map(|path| path.parse().unwrap()),
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let mut policy = limited(&["open.example"], false);
    policy.rules = vec![
        a_rule(true, "api.example", &["GET", "HEAD"], Some("/repos/acme/*")),
        a_rule(true, "api.example", &["POST"], Some("/graphql")),
        a_rule(false, "bad.open.example", &[], None),
        a_rule(true, "*.open.example", &[], None),
        a_rule(false, "open.example", &["DELETE"], None),
    ];
    let asked = |host: &str, method: &str, path: &str| {
        let target = Target::new(host, 443).unwrap();
        sign(decide(&policy, &operator(), &target, method, path))
    };
    for (host, method, path, expected) in [
        ("api.example", "GET", "/repos/acme/x", "+rules.0"),
        ("api.example", "POST", "/repos/acme/x", "-allowed-hosts"),
        ("api.example", "POST", "/graphql", "+rules.1"),
        ("bad.open.example", "GET", "/", "-rules.2"),
        ("good.open.example", "GET", "/", "+rules.3"),
        ("open.example", "DELETE", "/", "-rules.4"),
        ("open.example", "GET", "/", "+allowed-hosts open.example"),
    ] {
        assert_eq!(
            asked(host, method, path),
            expected,
            "{host} {method} {path}"
        );
    }
    for (target, expected) in [
        ("api.example", "?"),
        ("bad.open.example", "-rules.2"),
        ("good.open.example", "+rules.3"),
        ("open.example", "?"),
        ("other.example", "-allowed-hosts"),
    ] {
        assert_eq!(rule(&policy, target), expected, "{target}");
    }
}

#[test]
fn a_host_of_which_nothing_may_be_asked_is_not_opened_to_see_it() {
    let mut policy = limited(&[], false);
    policy.rules = vec![a_rule(false, "*", &["GET"], Some("/a"))];
    assert_eq!(rule(&policy, "x.example"), "-allowed-hosts");
    policy.rules.push(a_rule(false, "*", &[], None));
    let target = Target::new("x.example", 443).unwrap();
    let whole = reach(&policy, &operator(), &target);
    assert!(matches!(whole, Reach::Whole(Verdict::Deny { rule, .. }) if rule == "rules.1"));
}

#[test]
fn a_private_address_needs_the_operators_word_for_that_name_and_port() {
    let ip = "10.0.0.7".parse().unwrap();
    let policy = policy(Networking::Unrestricted);
    let allowed = |target: &str| {
        let target = Target::parse(target, Some(443)).unwrap();
        let verdict = decide_address(&policy, &operator(), &target, ip);
        matches!(verdict, Verdict::Allow { .. })
    };
    assert!(allowed("git.corp:3000"));
    assert!(!allowed("git.corp:443"));
    assert!(!allowed("rebinding.example.com:3000"));
}

#[test]
fn private_networks_open_when_environment_and_operator_agree_and_the_host_itself_never() {
    let target = Target::new("intern.example", 443).unwrap();
    for (environment, operators, ip, expected) in [
        (true, true, "10.0.0.7", true),
        (true, true, "fd00::1", true),
        (true, true, "127.0.0.1", false),
        (true, true, "169.254.169.254", false),
        (true, true, "::ffff:127.0.0.1", false),
        (true, false, "10.0.0.7", false),
        (false, true, "10.0.0.7", false),
    ] {
        let mut policy = policy(Networking::Unrestricted);
        policy.private_addresses = environment;
        let mut operator = operator();
        operator.private_addresses = operators;
        let verdict = decide_address(&policy, &operator, &target, ip.parse().unwrap());
        assert_eq!(matches!(verdict, Verdict::Allow { .. }), expected, "{ip}");
    }
}

#[test]
fn a_name_has_the_ports_on_which_anything_of_it_may_be_reached() {
    let ssh = |policy: Policy| {
        let rule = Rule {
            allow: true,
            host: Some("git.example".parse().unwrap()),
            ports: vec![22, 9418],
            methods: Vec::new(),
            path: None,
        };
        let rules = vec![rule];
        Policy { rules, ..policy }
    };
    for (policy, name, expected) in [
        (
            policy(Networking::Unrestricted),
            "a.example",
            Ok(vec![80, 443]),
        ),
        (
            policy(Networking::Unrestricted),
            "mcp.example.net",
            Ok(vec![80, 443, 8443]),
        ),
        (
            policy(Networking::Unrestricted),
            "git.corp",
            Ok(vec![80, 443, 3000]),
        ),
        (
            limited(&["a.example:8080"], true),
            "a.example",
            Ok(vec![8080]),
        ),
        (
            limited(&["*.a.example"], true),
            "b.a.example",
            Ok(vec![80, 443]),
        ),
        (
            limited(&["*.a.example"], true),
            "a.example",
            Err("allowed-hosts".to_owned()),
        ),
        (limited(&[], true), "mcp.example.net", Ok(vec![8443])),
        (
            limited(&[], false),
            "mcp.example.net",
            Err("allowed-hosts".to_owned()),
        ),
        (ssh(limited(&[], false)), "git.example", Ok(vec![22, 9418])),
        (
            ssh(limited(&[], false)),
            "a.example",
            Err("allowed-hosts".to_owned()),
        ),
    ] {
        let target = Target::new(name, 443).unwrap();
        assert_eq!(ports(&policy, &operator(), &target), expected, "{name}");
    }
}
