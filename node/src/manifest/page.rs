//! A manifest's text with its mistakes, and typed access to the tables in it. Nothing here stops at the first mistake:
//! a value that is wrong is noted and read as absent.

use super::mistake::{Mistake, nearest};
use crate::config::quantity::QuantityError;
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

/// Longest piece of the manifest that a message repeats, in characters.
const QUOTE_CHARS_MAX: usize = 60;
/// Mistakes told at once: enough to fix a manifest, not enough to flood a terminal.
pub const MISTAKES_MAX: usize = 200;

/// A value with the offset of its text.
pub type Value<'t, 'i> = &'t Spanned<DeValue<'i>>;

/// A table's key with the offset of its text.
pub type Key<'t, 'i> = &'t Spanned<DeString<'i>>;

/// The manifest being read.
#[derive(Debug)]
pub struct Page<'a> {
    name: String,
    text: &'a str,
    /// Where values stand, and the way to each.
    keys: Vec<(Range<usize>, String)>,
    mistakes: Vec<Mistake>,
}

impl<'a> Page<'a> {
    /// The page `name` of `text`.
    pub fn new(name: String, text: &'a str) -> Self {
        Self { name, text, keys: Vec::new(), mistakes: Vec::new() }
    }

    /// Learns where which key's value stands, so that every mistake can say whose it is.
    pub fn know(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            self.know_value(key.get_ref().to_string(), value);
        }
    }

    fn know_value(&mut self, way: String, value: Value<'_, '_>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.know_value(format!("{way}.{}", key.get_ref()), value);
                }
            }
            DeValue::Array(list) => {
                for (place, value) in list.iter().enumerate() {
                    self.know_value(format!("{way}[{}]", place + 1), value);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
        // Tables of their own are called by their headings.
        if way.contains('.') || !matches!(value.get_ref(), DeValue::Table(_)) {
            self.keys.push((value.span(), way));
        }
    }

    /// The key whose value stands at byte `at`.
    fn key_at(&self, at: usize) -> String {
        let there = self.keys.iter().filter(|(span, _)| at > 0 && span.contains(&at));
        there.min_by_key(|(span, _)| span.len()).map(|(_, way)| quote(way)).unwrap_or_default()
    }

    /// Notes a mistake at byte `at`.
    pub fn wrong(&mut self, at: usize, found: impl Into<String>, expected: impl Into<String>) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() as u32 + 1;
        let column = before.iter().rev().take_while(|&&b| b != b'\n').count() as u32 + 1;
        let (file, key, found, expected) =
            (self.name.clone(), self.key_at(at), found.into(), expected.into());
        self.push(Mistake { file, line, column, key, found, expected });
    }

    /// Notes a mistake of the whole, or of another file.
    pub fn push(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MISTAKES_MAX && !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// The manifest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether nothing was wrong so far.
    pub fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// All mistakes: the manifest's own first, by line, then those of its files.
    pub fn into_mistakes(mut self) -> Vec<Mistake> {
        let own = self.name;
        self.mistakes.sort_by(|a, b| {
            let key = |m: &Mistake| (m.file != own, m.file.clone(), m.line, m.column);
            key(a).cmp(&key(b))
        });
        self.mistakes
    }

    /// The parsed quantity, or a mistake at `at`.
    pub fn quantity<T>(&mut self, at: usize, parsed: Result<T, QuantityError>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(at, format!("`{}`", error.found), error.expected);
                None
            }
        }
    }

    /// `value` as text.
    pub fn text<'t>(&mut self, value: Value<'t, '_>, expected: &str) -> Option<&'t str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong(value.span().start, shown(value.get_ref()), expected);
        }
        text
    }

    /// `value` as a whole number from `min` to `max`.
    pub fn whole(&mut self, value: Value<'_, '_>, min: u64, max: u64, expected: &str) -> Option<u64> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok())
            .filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.wrong(value.span().start, shown(value.get_ref()), expected);
        }
        number
    }

    /// `value` as a yes or no.
    pub fn flag(&mut self, value: Value<'_, '_>, expected: &str) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(value.span().start, shown(value.get_ref()), expected);
        }
        flag
    }

    /// `value` as a list.
    pub fn list<'t, 'i>(
        &mut self,
        value: Value<'t, 'i>,
        expected: &str,
    ) -> Option<&'t [Spanned<DeValue<'i>>]> {
        let list = value.get_ref().as_array();
        if list.is_none() {
            self.wrong(value.span().start, shown(value.get_ref()), expected);
        }
        list.map(|l| &l[..])
    }

    /// `value` as a table, called `what` in messages.
    pub fn section<'t, 'i>(&mut self, value: Value<'t, 'i>, what: &str) -> Option<Section<'t, 'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value.span().start, shown(value.get_ref()), format!("a table: {what}"));
        }
        table.map(|table| Section::new(table, value.span().start, what))
    }
}

/// A value as a message shows it.
pub fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", quote(text)),
        DeValue::Integer(n) => format!("the number {n}"),
        DeValue::Float(n) => format!("the number {n}"),
        DeValue::Boolean(b) => format!("`{b}`"),
        DeValue::Datetime(d) => format!("the date {d}"),
        DeValue::Array(a) => format!("a list of {}", a.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A piece of the manifest made fit for a message.
pub fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTE_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().count() > QUOTE_CHARS_MAX {
        short.push_str("..");
    }
    short
}

/// A table with the keys that were asked of it; those nobody asked for are mistakes.
#[derive(Debug)]
pub struct Section<'t, 'i> {
    table: &'t DeTable<'i>,
    at: usize,
    what: String,
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    /// The table at byte `at`, called `what` in messages.
    pub fn new(table: &'t DeTable<'i>, at: usize, what: &str) -> Self {
        Self { table, at, what: what.to_owned(), known: Vec::new() }
    }

    /// Where it begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What messages call it.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Gives it a better name, once that is known.
    pub fn rename(&mut self, what: String) {
        self.what = what;
    }

    /// Whether a key is there, without asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The value of `key`, if it is there.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'t, 'i>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// The value of `key`, which must be there.
    pub fn need(&mut self, page: &mut Page<'_>, key: &'static str, expected: &str) -> Option<Value<'t, 'i>> {
        let value = self.get(key);
        if value.is_none() {
            page.wrong(self.at, format!("no `{key}` in {}", self.what), format!("`{key} =` {expected}"));
        }
        value
    }

    /// The text of `key`, if it is there.
    pub fn text(
        &mut self,
        page: &mut Page<'_>,
        key: &'static str,
        expected: &str,
    ) -> Option<(&'t str, usize)> {
        let value = self.get(key)?;
        page.text(value, expected).map(|text| (text, value.span().start))
    }

    /// The quantity of `key`, if it is there.
    pub fn quantity<T>(
        &mut self,
        page: &mut Page<'_>,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, QuantityError>,
    ) -> Option<T> {
        let (text, at) = self.text(page, key, expected)?;
        page.quantity(at, parse(text))
    }

    /// The list of tables of `key`: `[[key]]`. Empty if it is not there.
    pub fn tables(&mut self, page: &mut Page<'_>, key: &'static str) -> Vec<Section<'t, 'i>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let what = format!("[[{key}]]");
        let Some(list) = page.list(value, &format!("tables, each under its own {what}")) else {
            return Vec::new();
        };
        list.iter().filter_map(|entry| page.section(entry, &what)).collect()
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self, page: &mut Page<'_>) {
        for (key, _) in self.table.iter().filter(|(k, _)| !self.known.contains(&k.get_ref().as_ref())) {
            let expected = match nearest(key.get_ref(), self.known.iter().copied()) {
                Some(meant) => format!("`{meant}`"),
                None => format!("one of `{}`", self.known.join("`, `")),
            };
            page.wrong(
                key.span().start,
                format!("unknown key `{}` in {}", quote(key.get_ref()), self.what),
                expected,
            );
        }
    }
}
