//! The house rules that a compiler does not know: who may import whom, what may not be named
//! where, where unsafe code may stand, and that every file says what it is.
//!
//! A rule is a function from the tree to findings. To add one: write it in a file below `tidy/`,
//! add it to `RULES`, and let a unit test show a text that breaks it.

mod manifests;
mod seams;
mod text;
mod threats;
mod unsafe_code;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::metadata::Metadata;
use crate::{shell, source};

/// One broken rule.
pub struct Finding {
    file: PathBuf,
    line: Option<usize>,
    rule: String,
}

/// One Rust source of ours.
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// The same without comments and literals.
    pub code: String,
}

/// What the rules look at.
pub struct Tree {
    /// The workspace's manifests.
    pub metadata: Metadata,
    /// Every Rust source of the workspace.
    pub sources: Vec<Source>,
    /// Every other text file of ours: path relative to the root, and content.
    pub texts: Vec<(String, String)>,
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [(&str, Rule); 8] = [
    ("who imports whom", manifests::imports),
    ("one owner per driver", manifests::owners),
    ("shared lints and versions", manifests::shared),
    ("seams inside a crate", seams::check),
    ("unsafe code", unsafe_code::check),
    ("module heads and names", text::heads),
    ("words", text::words),
    ("claims and their tests", threats::check),
];

/// Checks every rule and prints each finding; any finding is an error.
pub fn run() -> Result<()> {
    let tree = Tree::read(&shell::root())?;
    let mut broken = 0;
    for (name, rule) in RULES {
        for finding in rule(&tree) {
            eprintln!("{finding}   [{name}]");
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("tidy: {broken} findings; the rules stand in xtask/src/tidy/");
    }
    println!(
        "tidy: {} rules, {} sources, nothing found",
        RULES.len(),
        tree.sources.len()
    );
    Ok(())
}

impl Tree {
    fn read(root: &Path) -> Result<Tree> {
        let relative = |path: &Path| {
            path.strip_prefix(root)
                .unwrap_or(path)
                .to_string_lossy()
                .replace('\\', "/")
        };
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut sources = Vec::new();
        for path in source::files(root, &[".rs"])? {
            let text = read(&path)?;
            let code = source::code(&text);
            sources.push(Source {
                path: relative(&path),
                text,
                code,
            });
        }
        let mut texts = Vec::new();
        for path in source::files(
            root,
            &[".md", ".toml", ".py", ".ts", ".sh", ".yml", "Makefile"],
        )? {
            texts.push((relative(&path), read(&path)?));
        }
        Ok(Tree {
            metadata: Metadata::load()?,
            sources,
            texts,
        })
    }
}

impl Finding {
    /// A finding about a whole file.
    pub fn file(path: impl Into<PathBuf>, rule: impl Into<String>) -> Finding {
        Finding {
            file: path.into(),
            line: None,
            rule: rule.into(),
        }
    }

    /// A finding on one line.
    pub fn line(path: impl Into<PathBuf>, line: usize, rule: impl Into<String>) -> Finding {
        Finding {
            file: path.into(),
            line: Some(line),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.rule)
    }
}

/// A source made from text, for the rules' own tests.
#[cfg(test)]
pub fn source_of(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
        code: source::code(text),
    }
}
