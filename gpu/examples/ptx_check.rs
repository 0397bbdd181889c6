//! Whether PTX files would be run: `cargo run -p ion-gpu --example ptx_check -- FILE...`.
//!
//! One file is shown with what is in it. Of several, the kernels are counted that are accepted, and the refusals by
//! instruction. A kernel counts by itself, with the functions and variables it names: that another kernel of its file
//! is refused is no fault of its own.

use ion_gpu::ptx::{self, Refusal, What};
use std::collections::{BTreeMap, BTreeSet};

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let mut count = Count::default();
    for file in &files {
        match std::fs::read_to_string(file) {
            Ok(text) if files.len() == 1 => show(file, &text),
            Ok(text) => count.file(file, &text),
            Err(error) => eprintln!("{file}: {error}"),
        }
    }
    if files.len() > 1 {
        count.print();
    }
}

fn show(file: &str, text: &str) {
    match ptx::inspect(text) {
        Ok(inspection) => print!("{file}: {inspection}"),
        Err(refusal) => eprintln!("{file}: {}", refusal.render(text)),
    }
}

#[derive(Default)]
struct Count {
    files: u64,
    whole: u64,
    kernels: u64,
    accepted: u64,
    /// Kernels refused, by what was refused in them.
    refused: BTreeMap<String, u64>,
}

impl Count {
    fn file(&mut self, file: &str, text: &str) {
        self.files += 1;
        if let Ok(module) = ptx::parse(text) {
            self.whole += 1;
            self.kernels += module.kernels().count() as u64;
            self.accepted += module.kernels().count() as u64;
            return;
        }
        let items = items(text);
        for kernel in items.iter().filter(|item| item.kernel) {
            self.kernels += 1;
            let alone = alone(&items, kernel);
            match ptx::parse(&alone) {
                Ok(_) => self.accepted += 1,
                Err(refusal) => {
                    println!("{file}: {}: {}", kernel.name, refusal.what);
                    *self.refused.entry(reason(&refusal)).or_default() += 1;
                }
            }
        }
    }

    fn print(&self) {
        let share = 100.0 * self.accepted as f64 / self.kernels.max(1) as f64;
        println!("{} of {} files accepted whole", self.whole, self.files);
        println!("{} of {} kernels accepted ({share:.1} %)", self.accepted, self.kernels);
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(_, kernels)| std::cmp::Reverse(**kernels));
        for (reason, kernels) in refused {
            println!("{kernels:6} {reason}");
        }
    }
}

/// The instruction, or the kind of trouble where it is none.
fn reason(refusal: &Refusal) -> String {
    match &refusal.what {
        What::UnknownInstruction { name } | What::Unsupported { name, .. } => name.clone(),
        What::Form { instruction, found, .. } => format!("{instruction} with {found}"),
        What::Unexpected { expected, .. } => format!("not {expected}"),
        What::Undeclared { kind, .. } => format!("an undeclared {kind}"),
        What::Twice { .. } => "declared twice".into(),
        What::Limit { what, limit } => format!("more than {limit} {what}"),
    }
}

/// A directive of the module level, as written.
struct Item<'a> {
    text: &'a str,
    kernel: bool,
    /// A function's name; empty for what is no function.
    name: &'a str,
    words: BTreeSet<&'a str>,
}

impl<'a> Item<'a> {
    fn new(text: &'a str) -> Self {
        let head = text.split('{').next().unwrap_or(text);
        let kernel = head.contains(".entry");
        // `.func (.param .b32 r) name(...)`: the name follows the results, if there are any.
        let rest =
            head.split_once(".entry").or_else(|| head.split_once(".func")).map_or("", |(_, rest)| rest);
        let rest = rest.trim_start();
        let rest = if rest.starts_with('(') { rest.split_once(')').map_or("", |(_, r)| r) } else { rest };
        let name = rest.trim_start().split(|c| !word(c)).next().unwrap_or("");
        Item { text, kernel, name, words: text.split(|c| !word(c)).collect() }
    }
}

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%')
}

/// The text cut after each `;` and each body at the module level; its head counts as an item.
fn items(text: &str) -> Vec<Item<'_>> {
    let (mut items, mut from, mut depth, mut line) = (Vec::new(), 0, 0, 0);
    for whole in text.split_inclusive('\n') {
        let code = whole.split("//").next().unwrap_or("");
        for (n, c) in code.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            let at = line + n + 1;
            let body = c == '}' && depth == 0 && !text[from..at].contains('=');
            let function = || text[from..at].contains(".entry") || text[from..at].contains(".func");
            if depth == 0 && (c == ';' || (c == '}' && (body || function()))) {
                items.push(Item::new(&text[from..at]));
                from = at;
            }
        }
        line += whole.len();
        if whole.trim_start().starts_with(".address_size") {
            items.push(Item::new(&text[from..line]));
            from = line;
        }
    }
    items
}

/// The module without the kernels and functions that `kernel` does not come to.
fn alone(items: &[Item<'_>], kernel: &Item<'_>) -> String {
    let mut needed = BTreeSet::from([kernel.name]);
    let mut open = vec![kernel.name];
    while let Some(name) = open.pop() {
        for item in items.iter().filter(|item| item.name == name) {
            for callee in items.iter().filter(|i| !i.kernel && !i.name.is_empty()) {
                if item.words.contains(callee.name) && needed.insert(callee.name) {
                    open.push(callee.name);
                }
            }
        }
    }
    items.iter().filter(|i| i.name.is_empty() || needed.contains(i.name)).map(|i| i.text).collect()
}
