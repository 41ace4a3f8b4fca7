//! Secrets that are looked for wherever something can lie: files, memory, text. A secret is looked for
//! as it is, in base64 wherever it begins in what was encoded, in hexadecimal, and percent-encoded.
//!
//! Looking is `grep`'s work: it reads gigabytes of memory in seconds, which a debug build of ours does not.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::process::Process;

/// Secrets to look for.
pub struct Canaries {
    names: Vec<(String, Vec<String>)>,
    patterns: NamedTempFile,
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Pages that are looked at together.
const PAGES: usize = 4096;

impl Canaries {
    /// These secrets, each with a name for people.
    #[must_use]
    pub fn new(secrets: &[(&str, &str)]) -> Canaries {
        let forms = |(name, secret): &(&str, &str)| ((*name).to_owned(), forms(secret));
        let names: Vec<_> = secrets.iter().map(forms).collect();
        let mut patterns = NamedTempFile::new().unwrap();
        for form in names.iter().flat_map(|(_, forms)| forms) {
            writeln!(patterns, "{form}").unwrap();
        }
        Canaries { names, patterns }
    }

    /// The names of those that this text holds.
    #[must_use]
    pub fn of_text(&self, text: &str) -> BTreeSet<String> {
        let holds = |forms: &[String]| forms.iter().any(|form| text.contains(form.as_str()));
        let found = self.names.iter().filter(|(_, forms)| holds(forms));
        found.map(|(name, _)| name.clone()).collect()
    }

    /// `name in file` for those that lie in a file below a directory, or in one file.
    #[must_use]
    pub fn of_files(&self, path: &Path) -> BTreeSet<String> {
        let mut grep = self.grep();
        // A binary file is text, a line of it what was found, and pipes and devices are left out.
        grep.args(["-r", "-H", "-o", "-Z", "-D", "skip"]).arg(path);
        let output = grep.output().unwrap();
        let mut found = BTreeSet::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((file, hit)) = line.split_once('\0') {
                found.extend(
                    self.of_text(hit)
                        .iter()
                        .map(|name| format!("{name} in {file}")),
                );
            }
        }
        found
    }

    /// The names of those that lie in what a process holds in memory, its arguments and environment.
    #[must_use]
    pub fn of_process(&self, process: Process) -> BTreeSet<String> {
        let dir = Path::new("/proc").join(process.pid.to_string());
        let mut grep = self.grep();
        grep.args(["-o", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut grep = grep.spawn().unwrap();
        let mut input = grep.stdin.take().unwrap();
        let feed = std::thread::spawn(move || {
            for name in ["cmdline", "environ"] {
                let _ = input.write_all(&fs::read(dir.join(name)).unwrap_or_default());
            }
            // One that ends meanwhile has no memory left to look into.
            let _ = copy_memory(&dir, &mut input);
        });
        let output = grep.wait_with_output().unwrap();
        feed.join().unwrap();
        self.of_text(&String::from_utf8_lossy(&output.stdout))
    }

    fn grep(&self) -> Command {
        let mut grep = Command::new("grep");
        grep.env("LC_ALL", "C")
            .args(["-a", "-F", "-f"])
            .arg(self.patterns.path());
        grep
    }
}

/// Writes every page that is there, mapping by mapping. What is only reserved, which may be many gigabytes,
/// is passed over by what the kernel says of each page.
fn copy_memory(dir: &Path, to: &mut impl Write) -> std::io::Result<()> {
    let maps = fs::read_to_string(dir.join("maps"))?;
    let mut pages = File::open(dir.join("pagemap"))?;
    let mut memory = File::open(dir.join("mem"))?;
    for line in maps.lines() {
        let bounds = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let parse = |text| u64::from_str_radix(text, 16).ok();
        let Some((from, end)) = bounds.and_then(|(from, end)| Some((parse(from)?, parse(end)?)))
        else {
            continue;
        };
        for first in (from / PAGE..end / PAGE).step_by(PAGES) {
            let count = PAGES.min(usize::try_from(end / PAGE - first).unwrap_or(PAGES));
            let mut said = vec![0; 8 * count];
            pages.seek(SeekFrom::Start(8 * first))?;
            // The kernel's own pages have no entries.
            if pages.read_exact(&mut said).is_err() {
                break;
            }
            copy_present(&mut memory, first, &said, to)?;
        }
    }
    Ok(())
}

/// Writes those of some pages that are in memory or swapped out, as their entries say.
fn copy_present(
    memory: &mut File,
    first: u64,
    said: &[u8],
    to: &mut impl Write,
) -> std::io::Result<()> {
    const THERE: u8 = 0b1100_0000;
    if said == &[0; 8 * PAGES][..said.len()] {
        return Ok(());
    }
    let there: Vec<bool> = said.chunks(8).map(|entry| entry[7] & THERE != 0).collect();
    let mut at = 0;
    while at < there.len() {
        let run = there[at..]
            .iter()
            .take_while(|here| **here == there[at])
            .count();
        if there[at] {
            let mut bytes = vec![0; run * usize::try_from(PAGE).expect("a page is small")];
            memory.seek(SeekFrom::Start((first + at as u64) * PAGE))?;
            // What cannot be read (a device) cannot be read from inside either.
            if memory.read_exact(&mut bytes).is_ok() {
                to.write_all(&bytes)?;
                to.write_all(b"\n")?;
            }
        }
        at += run;
    }
    Ok(())
}

/// How a secret may be written.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = bytes
        .iter()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex];
    if percent != secret {
        forms.push(percent);
    }
    for offset in 0..3 {
        forms.push(base64(bytes, offset));
    }
    // The same in the alphabet of addresses.
    let safe: Vec<String> = forms[forms.len() - 3..]
        .iter()
        .map(|text| text.replace('+', "-").replace('/', "_"))
        .collect();
    forms.extend(safe);
    forms.dedup();
    forms
}

/// What base64 of anything makes of these bytes when they begin `offset` bytes after a multiple of three:
/// the characters that depend on them alone.
fn base64(bytes: &[u8], offset: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = 8 * bytes.len();
    // A character is six bits; the first whole one of ours begins here.
    let first = (6 - (8 * offset) % 6) % 6;
    let mut text = String::new();
    let mut at = first;
    while at + 6 <= bits {
        let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
        let six = (at..at + 6).fold(0, |six, at| six << 1 | bit(at));
        text.push(char::from(ALPHABET[usize::from(six)]));
        at += 6;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-canary-4f9a7c21e8b35d60";

    #[test]
    fn every_way_to_write_a_secret_is_found() {
        let canaries = Canaries::new(&[("it", SECRET), ("another", "nothing-like-it-0000")]);
        // As other programs wrote them.
        for text in [
            "x sk-canary-4f9a7c21e8b35d60 y",
            "c2stY2FuYXJ5LTRmOWE3YzIxZThiMzVkNjA=",
            "YXNrLWNhbmFyeS00ZjlhN2MyMWU4YjM1ZDYw",
            "YWJzay1jYW5hcnktNGY5YTdjMjFlOGIzNWQ2MA==",
            "736b2d63616e6172792d34663961376332316538623335643630",
            "sk%2Dcanary%2D4f9a7c21e8b35d60",
        ] {
            assert_eq!(canaries.of_text(text).len(), 1, "{text}");
        }
        assert!(canaries.of_text("sk-canary-4f9a7c21e8b35d6").is_empty());
    }

    #[test]
    fn files_and_memory_are_searched() {
        let canaries = Canaries::new(&[("it", SECRET)]);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(
            dir.path().join("below/a"),
            [b"\0\xff", SECRET.as_bytes(), b"\0"].concat(),
        )
        .unwrap();
        fs::write(dir.path().join("b"), "nothing").unwrap();
        let found = canaries.of_files(dir.path());
        assert!(
            found.len() == 1 && found.first().unwrap().ends_with("below/a"),
            "{found:?}"
        );
        let alone = canaries.of_files(&dir.path().join("below/a"));
        assert_eq!(alone, found, "a file is searched like a directory");
        let mut child = Command::new("sleep")
            .arg("60")
            .env("HELD", SECRET)
            .spawn()
            .unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        let (found, elsewhere) = (
            canaries.of_process(process),
            Canaries::new(&[("other", "not-there-1234567")]).of_process(process),
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((found.len(), elsewhere.len()), (1, 0));
    }
}
