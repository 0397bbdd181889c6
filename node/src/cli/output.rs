//! Data on stdout: JSON, or text a person reads; what is said beside it on stderr.

use super::CliError;
use crate::clock;
use ion_protocol::UnixMillis;
use serde::Serialize;
use std::io::{Write, stderr, stdout};

/// One JSON document, on its own line.
pub fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|e| CliError::node(format!("no JSON: {e}"), ""))?;
    line(&text)
}

/// One line of text.
pub fn line(text: &str) -> Result<(), CliError> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// One line for people, on stderr. Where nobody reads it any more, that is no reason to end.
pub fn note(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Bytes as they are.
pub fn raw(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Columns, each as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Under these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// The next row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|c| printable(&c)).collect());
    }

    /// The whole as text without a last line end.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let render = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(render).collect::<Vec<_>>().join("\n")
    }

    /// Prints it.
    pub fn print(&self) -> Result<(), CliError> {
        line(&self.text())
    }
}

/// How long ago that was, in its largest unit: what a table has room for.
pub fn age(at: UnixMillis) -> String {
    let seconds = clock::wall().0.saturating_sub(at.0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Foreign text (a peer's model or region name) must not move the cursor or colour the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_foreign_text_is_tame() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["wide cell".to_owned(), "x".to_owned()]);
        table.row(["\u{1b}[31m".to_owned(), "y".to_owned()]);
        assert_eq!(table.text(), "A          LONG\nwide cell  x\n\u{fffd}[31m      y");
    }
}
