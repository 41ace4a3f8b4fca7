//! Files that processes write to through their memory.
//!
//! The kernel stamps such a file when a page of it is first written to, and not again until the
//! page went to the disk, or never where there is none. So a file that is mapped now, or was when
//! the last save looked, counts as changed whatever its time says. Databases do this.

use std::{collections::HashSet, fs};

use crate::procfs;

/// More than any program maps. Those beyond go by their time.
const MAPPED_MAX: usize = 4096;

/// The numbers of all files that are mapped shared and writable by a process that can be looked
/// at. Of which file system they are is left out: a file too much costs reading it, no more.
pub fn writable() -> HashSet<u64> {
    let processes = procfs::processes().into_iter();
    let maps = processes.filter_map(|entry| fs::read(format!("/proc/{}/maps", entry.pid)).ok());
    let mut found = HashSet::new();
    for maps in maps {
        let lines = maps.split(|byte| *byte == b'\n');
        found.extend(lines.filter_map(inode).take(MAPPED_MAX));
        if found.len() >= MAPPED_MAX {
            break;
        }
    }
    found
}

/// The file's number in a line of /proc/PID/maps: range, rights, offset, device, number, path.
fn inode(line: &[u8]) -> Option<u64> {
    let mut words = line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let rights = words.nth(1)?;
    if !(rights.contains(&b'w') && rights.ends_with(b"s")) {
        return None;
    }
    let number = std::str::from_utf8(words.nth(2)?).ok()?;
    number.parse().ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_and_writable_maps_of_files_count() {
        let rows: [(&[u8], Option<u64>); 5] = [
            (
                b"7f00-7f01 rw-s 00000000 00:1f 42   /workspace/data.mdb",
                Some(42),
            ),
            (b"7f00-7f01 rw-p 00000000 00:1f 42   /usr/lib/x.so", None),
            (
                b"7f00-7f01 r--s 00000000 00:1f 42   /workspace/data.mdb",
                None,
            ),
            (b"7f00-7f01 rw-s 00000000 00:00 0    anonymous", None),
            (b"", None),
        ];
        for (line, expected) in rows {
            assert_eq!(inode(line), expected, "{}", line.escape_ascii());
        }
    }
}
