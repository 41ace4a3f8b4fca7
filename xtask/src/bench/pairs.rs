//! Paired, interleaved runs: in each round ours and the baseline run once, in alternating order,
//! so that a slow minute of the machine falls on both.

use std::time::Duration;

use anyhow::Result;

/// Rounds whose times are thrown away: caches and files are warm afterwards, for both alike.
const WARM_UP: usize = 3;

/// Runs both sides `rounds` times and returns our times and the baseline's.
pub fn interleaved(
    rounds: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut baseline: impl FnMut() -> Result<Duration>,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + rounds {
        let (first, second) = if round % 2 == 0 {
            let first = ours()?;
            (first, baseline()?)
        } else {
            let second = baseline()?;
            (ours()?, second)
        };
        if round >= WARM_UP {
            mine.push(first);
            theirs.push(second);
        }
    }
    Ok((mine, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_run_equally_often_and_take_turns_at_being_first() {
        let order = std::cell::RefCell::new(String::new());
        let run = |name: char| {
            order.borrow_mut().push(name);
            Ok(Duration::from_millis(1))
        };
        let (ours, theirs) = interleaved(2, || run('o'), || run('b')).expect("both sides succeed");
        assert_eq!(*order.borrow(), "obboobboob");
        assert_eq!((ours.len(), theirs.len()), (2, 2));
    }
}
