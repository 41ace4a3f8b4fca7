//! Durations: a number of seconds, or a whole number with a unit (`90s`, `15m`, `2h`, `7d`). Shown as
//! a number of seconds. Kept to the millisecond, so that what is shown reads back as the same.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, expected, quoted};

/// A hundred years. Nothing here is meant to last longer, and every sum with a date stays a date.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 3600);

/// Takes a duration in its three states.
pub(super) fn patch(
    fields: &mut Fields<'_>,
    key: &'static str,
) -> Result<Patch<Duration>, Invalid> {
    Ok(match fields.patch::<Wanted>(key)? {
        Patch::Absent => Patch::Absent,
        Patch::Null => Patch::Null,
        Patch::Value(Wanted(duration)) => Patch::Value(duration),
    })
}

/// A duration as a request gives it.
struct Wanted(Duration);

impl Read for Wanted {
    fn read(value: Value, at: At<'_>) -> Result<Wanted, Invalid> {
        match &value {
            Value::Number(_) => seconds(&value, at).map(Wanted),
            Value::String(text) => {
                let rule = "must be a number of seconds or text such as \"90s\", \"15m\", \"2h\" or \"7d\"";
                let duration = with_unit(text)
                    .ok_or_else(|| at.invalid(format!("{rule}, got {}", quoted(text))))?;
                bounded(duration, at).map(Wanted)
            }
            other => {
                let rule = "a number of seconds or text such as \"90s\", \"15m\", \"2h\" or \"7d\"";
                Err(at.invalid(expected(rule, other)))
            }
        }
    }
}

/// Reads a number of seconds.
pub(super) fn seconds(value: &Value, at: At<'_>) -> Result<Duration, Invalid> {
    let number = value
        .as_f64()
        .ok_or_else(|| at.invalid(expected("a number of seconds", value)))?;
    // Checked as a number first: the conversion knows neither negative nor endless time.
    if !(0.0..=LONGEST.as_secs_f64()).contains(&number) {
        return Err(out_of_range(at));
    }
    bounded(whole_millis(number), at)
}

fn whole_millis(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1000.0).round() as u64)
}

fn with_unit(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let number = &text[..text.len() - unit.len_utf8()];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(
        number.parse::<u64>().ok()?.checked_mul(scale)?,
    ))
}

fn bounded(duration: Duration, at: At<'_>) -> Result<Duration, Invalid> {
    if duration.is_zero() || duration > LONGEST {
        return Err(out_of_range(at));
    }
    Ok(duration)
}

fn out_of_range(at: At<'_>) -> Invalid {
    at.invalid("must be at least 0.001 seconds and at most 36500d")
}

/// Writes seconds, as an integer when they are whole.
pub(super) fn serialize<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        None => serializer.serialize_none(),
        Some(whole) if whole.subsec_nanos() == 0 => whole.as_secs().serialize(serializer),
        Some(duration) => duration.as_secs_f64().serialize(serializer),
    }
}

/// Reads what [`serialize`] wrote.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let seconds = Option::<f64>::deserialize(deserializer)?;
    Ok(seconds.map(whole_millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Duration, Invalid> {
        Wanted::read(value, At::root()).map(|wanted| wanted.0)
    }

    #[test]
    fn numbers_and_units_are_read() {
        for (given, millis) in [
            (json!(90), 90_000),
            (json!(0.25), 250),
            (json!(1.0), 1000),
            (json!("90s"), 90_000),
            (json!("15m"), 900_000),
            (json!("2h"), 7_200_000),
            (json!("7d"), 604_800_000),
        ] {
            assert_eq!(read(given).unwrap(), Duration::from_millis(millis));
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for wrong in [
            json!(0),
            json!(-1),
            json!(0.0004),
            json!(1e300),
            json!("0s"),
            json!("36501d"),
            json!("99999999999999999999s"),
            json!("9999999999999999999d"),
            json!("1.5h"),
            json!("-5m"),
            json!("+5m"),
            json!("90"),
            json!("s"),
            json!(""),
            json!("5µ"),
            json!(true),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        #[derive(Serialize, Deserialize)]
        struct Holder(#[serde(with = "super")] Option<Duration>);
        for (millis, shown) in [(90_000, json!(90)), (250, json!(0.25)), (1, json!(0.001))] {
            let duration = Duration::from_millis(millis);
            let value = serde_json::to_value(Holder(Some(duration))).unwrap();
            assert_eq!(value, shown);
            let Holder(again) = serde_json::from_value(value).unwrap();
            assert_eq!(again, Some(duration));
        }
        assert_eq!(serde_json::to_value(Holder(None)).unwrap(), Value::Null);
    }
}
