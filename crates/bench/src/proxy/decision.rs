//! One decision among 1,000 rules, none of which matches: the worst case.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use egress::{Networking, Operator, Policy, Rule, Target, Verdict, decide};

use crate::Setting;
use crate::row::{Bound, Row};

/// Rules of a policy, the most that an environment takes.
const RULES: usize = 1_000;
/// Decisions that are timed together: one is too short for a clock.
const TOGETHER: u32 = 200;

pub fn run(setting: &Setting) -> Result<Row> {
    let mut policy = Policy::new(Networking::Unrestricted);
    for number in 0..RULES {
        // A third each by name, by domain, and by path of the host that is asked.
        let (host, path) = match number % 3 {
            0 => (format!("host-{number}.example.com"), None),
            1 => (format!("*.zone-{number}.example.com"), None),
            _ => (
                "api.example.com".to_owned(),
                Some(format!("/v1/*/items/{number}")),
            ),
        };
        policy.rules.push(Rule {
            allow: false,
            host: Some(host.parse()?),
            ports: vec![443],
            methods: Vec::new(),
            path: path.map(|path| path.parse()).transpose()?,
        });
    }
    let operator = Operator::default();
    let target = Target::new("api.example.com", 443)?;
    let mut row = Row::number(
        "a decision among 1,000 rules",
        "µs",
        0.0,
        &[Bound::Median(20.0)],
    );
    row.ours.clear();
    for _ in 0..setting.rounds.max(5) * 10 {
        let begun = Instant::now();
        for _ in 0..TOGETHER {
            let target = black_box(&target);
            let verdict = decide(&policy, &operator, target, "GET", "/v1/projects/7/items/x");
            ensure!(matches!(verdict, Verdict::Allow { .. }), "no rule matches");
        }
        let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(TOGETHER);
        row.ours.push((each * 1e3).round() / 1e3);
    }
    Ok(row)
}
