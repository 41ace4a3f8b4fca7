//! Makes and changes many files. It runs inside a sandbox and outside, so that both have the same.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Files in a directory.
const IN_ONE: usize = 100;
/// Files that one round changes.
pub const CHANGED: usize = 10;
/// What is added to each of them.
const LINE: &str = "a line that was not there before\n";
/// Bytes that one round changes.
pub const CHANGED_BYTES: usize = CHANGED * LINE.len();

/// Does what the command line says: `make <dir> <files> <bytes>` or `change <dir> <files> <round>`.
pub fn run(arguments: &[String]) -> Result<()> {
    let [verb, dir, rest @ ..] = arguments else {
        bail!("files make <dir> <files> <bytes>, or files change <dir> <files> <round>");
    };
    let numbers: Result<Vec<usize>, _> = rest.iter().map(|number| number.parse()).collect();
    match (verb.as_str(), numbers?.as_slice()) {
        ("make", [files, bytes]) => make(Path::new(dir), *files, *bytes),
        ("change", [files, round]) => change(Path::new(dir), *files, *round),
        _ => bail!("files does not know {verb}"),
    }
}

/// Makes files of text that compresses as source code does, of such a length in the middle.
pub fn make(dir: &Path, files: usize, bytes: usize) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits")
    };
    let words: Vec<String> = (0..4096)
        .map(|_| {
            let letters = (0..3 + next() % 7).map(|_| char::from(b'a' + (next() % 26) as u8));
            letters.collect()
        })
        .collect();
    for number in 0..files {
        let path = place(dir, number);
        if number % IN_ONE == 0 {
            fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        }
        let length = bytes / 2 + next() % bytes;
        let mut text = String::with_capacity(length + 16);
        while text.len() < length {
            text.push_str(&words[next() % words.len()]);
            text.push(if next() % 9 == 0 { '\n' } else { ' ' });
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// Adds a line to some files, others in every round.
pub fn change(dir: &Path, files: usize, round: usize) -> Result<()> {
    for number in 0..CHANGED {
        let path = place(dir, (number * files / CHANGED + round * 37) % files);
        let mut file = fs::File::options().append(true).open(path)?;
        file.write_all(LINE.as_bytes())?;
    }
    Ok(())
}

fn place(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("module{:03}/src", number / IN_ONE))
        .join(format!("file_number_{:02}.rs", number % IN_ONE))
}
