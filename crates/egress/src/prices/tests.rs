use super::*;

fn day(text: &str) -> SystemTime {
    date(text).unwrap()
}

fn dollars(model: &str, when: &str, tokens: Tokens) -> Option<f64> {
    Prices::builtin()
        .cost(model, day(when), &tokens, Terms::default())
        .map(|cost| cost.0 as f64 / 1e8)
}

const MILLION: Tokens = Tokens {
    input: 0,
    output: 0,
    cache_read: 1_000_000,
    cache_write_5m: 0,
    cache_write_1h: 0,
    web_searches: 0,
};

#[test]
fn dates_are_midnights_utc() {
    let seconds =
        |text| date(text).map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
    assert_eq!(seconds("1970-01-01"), Some(0));
    assert_eq!(seconds("2026-11-22"), Some(1_795_305_600));
    assert_eq!(seconds("2026-13-01"), None);
    assert_eq!(seconds("yesterday"), None);
}

#[test]
fn each_kind_of_token_has_its_price() {
    let tokens = Tokens {
        input: 1_000,
        output: 100,
        cache_read: 10_000,
        cache_write_5m: 200,
        cache_write_1h: 50,
        web_searches: 2,
    };
    // 0.004 + 0.002 + 0.002 + 0.001 + 0.0004 + 0.02
    assert_eq!(
        dollars("claude-opus-5-5", "2026-11-22", tokens),
        Some(0.0294)
    );
}

#[test]
fn the_entry_of_the_calls_day_counts() {
    assert_eq!(
        dollars("claude-sonnet-5-5", "2026-10-06", MILLION),
        Some(0.20)
    );
    assert_eq!(
        dollars("claude-sonnet-5-5", "2026-10-07", MILLION),
        Some(0.10)
    );
    assert_eq!(
        dollars("claude-sonnet-5-5", "1999-01-01", MILLION),
        Some(0.20)
    );
}

#[test]
fn a_long_prompt_prices_the_whole_call() {
    let tokens = |input| Tokens {
        input,
        output: 1_000_000,
        ..Tokens::default()
    };
    assert_eq!(
        dollars("claude-haiku-5-5", "2026-11-22", tokens(100_000)),
        Some(0.51)
    );
    assert_eq!(
        dollars("claude-haiku-5-5", "2026-11-22", tokens(100_001)),
        Some(2.550_000_5)
    );
}

#[test]
fn dated_names_and_context_marks_have_the_models_price() {
    assert_eq!(
        dollars("claude-haiku-4-5-20251001", "2026-11-22", MILLION),
        Some(0.1)
    );
    assert_eq!(
        dollars("claude-opus-4-8[1m]", "2026-11-22", MILLION),
        Some(0.5)
    );
}

#[test]
fn terms_change_the_price_or_leave_it_unknown() {
    let cost = |us_only, unlisted| {
        let terms = Terms { us_only, unlisted };
        Prices::builtin().cost("claude-opus-5", day("2026-11-22"), &MILLION, terms)
    };
    assert_eq!(cost(true, false), Some(Microcents(55_000_000)));
    assert_eq!(cost(false, true), None);
}

#[test]
fn an_unknown_model_has_no_price() {
    assert_eq!(dollars("claude-opus-9", "2026-11-22", MILLION), None);
    assert_eq!(dollars("", "2026-11-22", MILLION), None);
}

#[test]
fn an_operators_table_replaces_the_entries_of_its_models() {
    let own = r#"
        [[price]]
        model = "claude-sonnet-5-5"
        from = "2020-01-01"
        source = "contract"
        input = 1
        output = 1
        cache_write_5m = 1
        cache_write_1h = 1
        cache_read = 0.07
    "#;
    let prices = Prices::builtin().overridden_by(own).unwrap();
    let when = day("2026-11-22");
    assert_eq!(
        prices.cost("claude-sonnet-5-5", when, &MILLION, Terms::default()),
        Some(Microcents(7_000_000))
    );
    assert_eq!(
        prices.cost("claude-sonnet-5", when, &MILLION, Terms::default()),
        Some(Microcents(20_000_000))
    );
}

#[test]
fn a_table_with_an_unknown_key_or_a_bad_amount_is_refused() {
    let form = Prices::builtin().overridden_by("webserch = 1");
    assert!(matches!(form, Err(PricesError::Form(_))));
    let amount = Prices::builtin().overridden_by("web_search = -1.0");
    assert!(matches!(amount, Err(PricesError::Amount { .. })));
}

#[test]
fn every_model_known_by_name_has_a_price() {
    for model in [
        "claude-fable-5-2",
        "claude-fable-5-1",
        "claude-fable-5",
        "claude-opus-5-5",
        "claude-opus-5",
        "claude-opus-4-8",
        "claude-opus-4-7",
        "claude-opus-4-6",
        "claude-opus-4-5",
        "claude-sonnet-5-5",
        "claude-sonnet-5",
        "claude-sonnet-4-6",
        "claude-sonnet-4-5",
        "claude-haiku-5-5",
        "claude-haiku-4-5",
    ] {
        assert!(dollars(model, "2026-11-22", MILLION).is_some(), "{model}");
    }
}
