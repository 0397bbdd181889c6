//! What is wrong with a manifest or a file it names, and where.

use serde::{Serialize, Serializer};
use std::{fmt, io, num::NonZeroU32, path::PathBuf};

/// One mistake. In JSON its line and column are `null` where none is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file, as its owner wrote or gave its name.
    pub file: String,
    /// From 1; 0 where no line is to blame.
    #[serde(serialize_with = "if_known")]
    pub line: u32,
    /// From 1, in bytes; 0 where no line is to blame.
    #[serde(serialize_with = "if_known")]
    pub column: u32,
    /// The key it is the value of, by its way from the top (`limits.run`, `step[2].args[1]`); empty where no value is to blame.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there; empty where `found` says it.
    pub expected: String,
}

fn if_known<S: Serializer>(number: &u32, out: S) -> Result<S::Ok, S::Error> {
    NonZeroU32::new(*number).serialize(out)
}

impl Mistake {
    /// The way out.
    pub fn hint(&self) -> String {
        if !self.expected.is_empty() {
            return format!("write {}", self.expected);
        }
        match self.file.ends_with(".ptx") {
            true => {
                "leave that out of the kernel; `ion ptx check` tells the same of the file alone".to_owned()
            }
            false => "correct that line; `node/jobs` in the repository has examples".to_owned(),
        }
    }
}

impl fmt::Display for Mistake {
    /// `job.toml:12:7: found `5 parsecs` for `limits.run`; expected a duration with its unit`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": found {}", self.found)?;
        if !self.key.is_empty() {
            write!(f, " for `{}`", self.key)?;
        }
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

/// Why a manifest is not a job.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It can't be read at all.
    #[error("could not read {}: {source}", path.display())]
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no manifest, by size or by encoding.
    #[error("{} is {found}; expected {expected}", path.display())]
    NotText {
        /// The manifest.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What a manifest is.
        expected: String,
    },
    /// It was read to the end; every mistake is here, in order of files and lines.
    #[error("{}", in_lines(.0))]
    Mistakes(Vec<Mistake>),
}

fn in_lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

/// The word of `known` that was probably meant by `word`: few edits away for its length.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const WORD_CHARS_MAX: usize = 64;
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let near = |k: &'k str| (edits(&word.to_lowercase(), &k.to_lowercase()), k);
    let (distance, best) = known.into_iter().map(near).min_by_key(|(d, _)| *d)?;
    (distance <= (best.chars().count() / 3).max(1)).then_some(best)
}

/// Insertions, deletions, replacements and exchanges of neighbours between two words (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_null_and_every_mistake_has_a_way_out() {
        let at = |file: &str, line, expected: &str| Mistake {
            file: file.to_owned(),
            line,
            column: line,
            key: String::new(),
            found: "something".to_owned(),
            expected: expected.to_owned(),
        };
        let json = |mistake: &Mistake| serde_json::to_value(mistake).unwrap();
        let (whole, placed) = (at("job.toml", 0, ""), at("job.toml", 7, "a name"));
        assert_eq!((&json(&whole)["line"], &json(&whole)["column"]), (&().into(), &().into()));
        assert_eq!((&json(&placed)["line"], &json(&placed)["column"]), (&7.into(), &7.into()));
        assert_eq!(placed.hint(), "write a name");
        assert!(whole.hint().contains("`node/jobs`"));
        assert!(at("k.ptx", 3, "").hint().contains("`ion ptx check`"));
    }

    #[test]
    fn typing_slips_are_understood() {
        let keys = ["kernel", "module", "grid", "block", "shared", "args"];
        for (word, meant) in [("kernl", "kernel"), ("Grid", "grid"), ("blokc", "block"), ("arg", "args")] {
            assert_eq!(nearest(word, keys), Some(meant));
        }
        assert_eq!(nearest("zzz", keys), None);
        assert_eq!(nearest(&"x".repeat(1000), keys), None);
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
    }
}
