//! Why a text was refused, and where.
//!
//! Owns: [`Refusal`], its words, and its rendering with the source line and a caret.
//! Never: quotes more than a few dozen bytes of foreign text in a message.
//! Tests: `ptx/tests.rs`.

use thiserror::Error;

/// Longest piece of foreign text that a message repeats.
const QUOTE_BYTES_MAX: usize = 60;

/// Where something stands in a text; lines and columns count from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

/// One reason why a PTX text is not run. The text is never repaired: the first refusal ends the reading.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {}, column {}: {what}", at.line, at.column)]
pub struct Refusal {
    pub at: At,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum What {
    #[error("found {found}, expected {expected}")]
    Unexpected { found: String, expected: String },
    #[error("`{name}` is not a PTX instruction known here; see the list of covered instructions")]
    UnknownInstruction { name: String },
    #[error("`{name}` is not run here: {why}")]
    Unsupported { name: String, why: &'static str },
    #[error("`{instruction}` does not take {found}; expected {expected}")]
    Form { instruction: String, found: String, expected: String },
    #[error("{kind} `{name}` is not declared; declare it before its use")]
    Undeclared { kind: &'static str, name: String },
    #[error("`{name}` is declared twice; give one of them another name")]
    Twice { name: String },
    #[error("more than {limit} {what}; split the module or make it smaller")]
    Limit { what: &'static str, limit: u64 },
}

/// A piece of foreign text made fit for a message.
pub(super) fn quote(text: &str) -> String {
    let mut end = text.len().min(QUOTE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let dots = if end < text.len() { "..." } else { "" };
    format!("{}{dots}", text[..end].escape_debug())
}

impl Refusal {
    pub(super) fn unexpected(at: At, found: &str, expected: &str) -> Refusal {
        let what = What::Unexpected { found: quote(found), expected: expected.to_string() };
        Refusal { at, what }
    }

    pub(super) fn limit(at: At, what: &'static str, limit: u64) -> Refusal {
        Refusal { at, what: What::Limit { what, limit } }
    }

    pub(super) fn unsupported(at: At, name: &str, why: &'static str) -> Refusal {
        Refusal { at, what: What::Unsupported { name: quote(name), why } }
    }

    pub(super) fn undeclared(at: At, kind: &'static str, name: &str) -> Refusal {
        Refusal { at, what: What::Undeclared { kind, name: quote(name) } }
    }

    pub(super) fn twice(at: At, name: &str) -> Refusal {
        Refusal { at, what: What::Twice { name: quote(name) } }
    }

    /// The message, the source line it speaks of and a caret below the place:
    ///
    /// ```text
    /// line 7, column 9: `add.f32` does not take `%r1`; expected an .f32 register
    ///  7 |     add.f32 %f1, %r1, %f2;
    ///    |                  ^^^
    /// ```
    pub fn render(&self, source: &str) -> String {
        let mut text = self.to_string();
        let Some(line) = source.split('\n').nth(self.at.line.saturating_sub(1) as usize) else {
            return text;
        };
        // Long lines are shown around the place, never whole.
        let column = (self.at.column.saturating_sub(1) as usize).min(line.len());
        let mut from = column.saturating_sub(QUOTE_BYTES_MAX);
        while !line.is_char_boundary(from) {
            from -= 1;
        }
        let mut to = (column + 2 * QUOTE_BYTES_MAX).min(line.len());
        while !line.is_char_boundary(to) {
            to += 1;
        }
        let shown: String = line[from..to].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = line.get(from..column).map_or(column - from, |s| s.chars().count());
        let carets = (self.at.length as usize).clamp(1, (to - column).max(1));
        let number = self.at.line.to_string();
        let blank = " ".repeat(number.len());
        text.push_str(&format!("\n {number} | {}\n", shown.trim_end()));
        text.push_str(&format!(" {blank} | {}{}", " ".repeat(before), "^".repeat(carets)));
        text
    }
}
