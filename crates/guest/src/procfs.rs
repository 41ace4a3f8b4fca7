//! What /proc says about processes.

use std::{collections::HashMap, fs};

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub pid: i32,
    pub parent: i32,
    /// CPU time in ticks of 1/100 s: its own, and that of children it has reaped.
    pub ticks: u64,
    /// Resident pages.
    pub pages: u64,
}

/// Every process that can be seen. One that ends meanwhile may be missing.
pub fn processes() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| fs::read(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| parse(&String::from_utf8_lossy(&stat)))
        .collect()
}

/// The parent of a process that lives. One that has ended and waits to be reaped has lost its own:
/// whoever started it may have ended, too.
pub fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    if has_ended(&stat) {
        return None;
    }
    parse(&stat).map(|entry| entry.parent)
}

fn has_ended(stat: &str) -> bool {
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// The children of this process, which has one thread, also those that nobody may look at.
/// Empty on kernels that do not keep the list.
pub fn own_children() -> Vec<i32> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pids = list.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// All processes below one, nearest first, itself not included.
pub fn descendants(of: i32, processes: &[Entry]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in processes {
        children.entry(entry.parent).or_default().push(entry.pid);
    }
    let mut found = children.remove(&of).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    found
}

/// Reads a line of /proc/PID/stat. The name may hold blanks and parentheses, so fields are
/// counted from its last parenthesis.
fn parse(stat: &str) -> Option<Entry> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
    // Field 0 here is the third of proc(5): state, parent, …; 11 to 14 are the CPU times.
    let ticks = (11..=14)
        .filter_map(number)
        .map(|ticks| ticks.max(0) as u64)
        .sum();
    let parent = i32::try_from(number(1)?).ok()?;
    Some(Entry {
        pid: pid.parse().ok()?,
        parent,
        ticks,
        pages: number(21)?.max(0) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_waits_to_be_reaped_has_ended() {
        assert!(has_ended("7 (a) S (b) Z 1 7 7"));
        assert!(!has_ended("7 (Z) S 3 7 7"));
    }

    #[test]
    fn a_name_full_of_traps_is_read() {
        let stat = "7 (a) R 1 (b)) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5 6000 70 18";
        assert_eq!(
            parse(stat),
            Some(Entry {
                pid: 7,
                parent: 3,
                ticks: 100,
                pages: 70
            })
        );
    }

    #[test]
    fn nonsense_is_no_process() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("7 (x) S"), None);
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_loops_end() {
        let entry = |pid, parent| Entry {
            pid,
            parent,
            ticks: 0,
            pages: 0,
        };
        let all = [
            entry(2, 1),
            entry(3, 2),
            entry(4, 3),
            entry(5, 1),
            entry(8, 9),
            entry(9, 8),
        ];
        assert_eq!(descendants(2, &all), [3, 4]);
        assert_eq!(descendants(8, &all), [9, 8]);
    }
}
