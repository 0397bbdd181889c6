//! Tables for a terminal: columns as wide as their widest cell.

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Quantities.
    Right,
}

/// A table that is printed when it is complete.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// An empty table.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            columns: columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Missing cells stay empty; there are none to spare.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert!(cells.len() <= self.columns.len(), "a row is no longer than the table is wide");
        self.rows.push(cells);
    }

    /// Its lines, each indented by two and without blanks at the end.
    pub fn lines(&self) -> Vec<String> {
        let cell = |row: &Vec<String>, column: usize| row.get(column).map_or("", String::as_str).to_owned();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(c, (name, _))| {
                self.rows.iter().map(|row| width(&cell(row, c))).fold(width(name), usize::max)
            })
            .collect();
        let line = |cells: &dyn Fn(usize) -> String| {
            let padded = self.columns.iter().zip(&widths).enumerate().map(|(c, ((_, align), wide))| {
                let text = cells(c);
                let blanks = " ".repeat(wide - width(&text));
                match align {
                    Align::Left => text + &blanks,
                    Align::Right => blanks + &text,
                }
            });
            format!("  {}", padded.collect::<Vec<_>>().join(GAP)).trim_end().to_owned()
        };
        let mut lines = vec![line(&|c| self.columns[c].0.clone()), line(&|c| "-".repeat(widths[c]))];
        lines.extend(self.rows.iter().map(|row| line(&|c| cell(row, c))));
        lines
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("job", Align::Left), ("time", Align::Right), ("note", Align::Left)]);
        table.row(vec!["saxpy".into(), "3 ms".into()]);
        table.row(vec!["µ".into(), "1200 ms".into(), "slow".into()]);
        assert_eq!(
            table.lines(),
            [
                "  job       time  note",
                "  -----  -------  ----",
                "  saxpy     3 ms",
                "  µ      1200 ms  slow",
            ]
        );
    }
}
