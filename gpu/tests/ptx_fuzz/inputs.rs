//! Texts for the reader: good ones that were changed, and new ones put together from the table of forms.
//!
//! A text is a function of its seed alone, so a seed is all that is needed to see one again.

use fastrand::Rng;

/// The table that the reader itself goes by: whatever is covered next is put together next.
const TABLE: &str = include_str!("../../src/ptx/table.rs");

/// Longest text made, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// One way to write an instruction.
struct Form {
    op: &'static str,
    /// Whether each place may stay empty, and what may stand there.
    slots: Vec<(bool, Vec<&'static str>)>,
    operands: Vec<&'static str>,
}

/// Good texts and the forms of instructions.
pub struct Inputs {
    good: Vec<String>,
    words: Vec<String>,
    forms: Vec<Form>,
}

fn forms() -> Vec<Form> {
    let sets: Vec<(&str, &str)> = TABLE
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?.split_once("\", \""))
        .collect();
    let body = TABLE.split_once("FORMS: &str = \"").expect("the table's forms").1;
    let lines = body.split_once("\";").expect("the table's end").0.lines();
    lines.filter(|line| !line.is_empty()).map(|line| form(line, &sets)).collect()
}

fn form(line: &'static str, sets: &[(&'static str, &'static str)]) -> Form {
    let (head, operands) = line.split_once(" :").expect("every form has a colon");
    let mut words = head.split_whitespace();
    let op = words.next().expect("every form has a name");
    let slot = |word: &'static str| {
        let names = word.trim_matches(['[', ']']).split('|');
        let mods = names.flat_map(|name| {
            let set = sets.iter().find(|(set, _)| *set == name);
            set.map_or(name, |(_, mods)| *mods).split('|')
        });
        (word.starts_with('['), mods.collect())
    };
    Form { op, slots: words.map(slot).collect(), operands: operands.split_whitespace().collect() }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}

/// The register prefix for a type, if the word is one; in capitals where no constant can be written.
fn class(word: &str) -> Option<char> {
    Some(match word.trim_start_matches('.') {
        "pred" => 'p',
        "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "e4m3x2" | "e5m2x2" => 'h',
        "b32" | "u32" | "s32" => 'r',
        "f16" | "bf16" => 'H',
        "f16x2" | "bf16x2" => 'R',
        "b64" | "u64" | "s64" => 'd',
        "f32" => 'f',
        "f64" => 'g',
        _ => return None,
    })
}

fn register(rng: &mut Rng, class: char) -> String {
    format!("%{}{}", class.to_ascii_lowercase(), rng.u8(0..6))
}

/// A register or a constant.
fn value(rng: &mut Rng, class: char) -> String {
    match (rng.u8(0..4), class) {
        (0, 'f') => format!("0f{:08X}", rng.u32(..)),
        (0, 'g') => format!("0d{:016X}", rng.u64(..)),
        (0, 'h' | 'r' | 'd') => format!("{}", rng.i64(..) >> rng.u8(0..64)),
        (2, 'h' | 'r' | 'd') => {
            let operators = ["+", "*", "<<", "==", "&&", "|", "^", "-", "/", "?7:"];
            format!("(~{} {} {})", rng.u8(..), pick(rng, &operators), rng.u8(..))
        }
        _ => register(rng, class),
    }
}

fn address(rng: &mut Rng, mods: &[&str]) -> String {
    let named = match () {
        () if mods.contains(&".param") => "x",
        () if mods.iter().any(|m| m.starts_with(".shared")) => "cell",
        () if mods.contains(&".local") => "room",
        () if mods.contains(&".const") => "fixed",
        () => "table",
    };
    let offset = rng.i64(-2..6) * 8;
    match rng.u8(0..3) {
        0 => format!("[%d{}]", rng.u8(0..6)),
        1 => format!("[%d0+{offset}]"),
        _ => format!("[{named}+{offset}]"),
    }
}

fn operand(rng: &mut Rng, name: &str, mods: &[&str]) -> String {
    let types: Vec<char> = mods.iter().filter_map(|m| class(m)).collect();
    let first = types.first().copied().unwrap_or('r');
    let second = types.get(1).copied().unwrap_or(first);
    let of = |rest: &str| match rest {
        "1" => second,
        "w" => match first {
            'h' => 'r',
            'r' => 'd',
            other => other,
        },
        rest => class(rest).unwrap_or(first),
    };
    let vector = |rng: &mut Rng| {
        let parts = match mods.iter().find(|m| m.starts_with(".v")) {
            Some(&".v8") => 8,
            Some(&".v4") => 4,
            _ => 2,
        };
        let parts: Vec<String> = (0..parts).map(|_| register(rng, first)).collect();
        format!("{{{}}}", parts.join(", "))
    };
    match name {
        "_" => "_".into(),
        "vr" => register(rng, 'r'),
        "vd" => format!("%r{}.{}", rng.u8(0..6), pick(rng, &["b0", "h1", "b3", "h10"])),
        "vs" | "vq" | "vm" => {
            let part = ["", ".b0", ".h1", ".h10", ".h32", ".b3210", ".b7654", ".b10", ".b9"];
            format!("%r{}{}", rng.u8(0..6), pick(rng, &part))
        }
        "d_" if rng.bool() => "_".into(),
        "D" => register(rng, first),
        "S1" => register(rng, second),
        "PP" if rng.bool() => format!("{}|{}", register(rng, 'p'), register(rng, 'p')),
        "p" if rng.bool() => format!("!{}", register(rng, 'p')),
        "p" if rng.u8(0..8) == 0 => rng.u8(0..2).to_string(),
        "P" | "PP" | "p" => register(rng, 'p'),
        "V" | "W" if mods.iter().any(|m| matches!(*m, ".v2" | ".v4" | ".v8")) => vector(rng),
        "m" | "M" if rng.u8(0..6) == 0 => vector(rng),
        "m" if first == 'r' && rng.bool() => {
            pick(rng, &["%tid.x", "%laneid", "%ctaid.x", "%lanemask_lt", "cell"]).to_string()
        }
        "m" | "W" => value(rng, first),
        "M" | "V" => register(rng, first),
        "a" => address(rng, mods),
        "l" => "END".into(),
        "t" => "T".into(),
        "h" => register(rng, 'd'),
        "c" if rng.bool() => register(rng, 'p'),
        "c" => value(rng, 'r'),
        "y" => register(rng, 'd'),
        "i" => rng.u8(..).to_string(),
        _ if name.starts_with("DP") => {
            let register = register(rng, of(&name[2..]));
            if rng.bool() { format!("{register}|%p1") } else { register }
        }
        _ if name.starts_with('d') => register(rng, of(&name[1..])),
        _ => value(rng, of(name.get(1..).unwrap_or(""))),
    }
}

impl Form {
    fn write(&self, rng: &mut Rng) -> String {
        let slots = self.slots.iter().filter(|(optional, _)| !optional || rng.bool());
        let chosen: Vec<_> = slots.collect();
        let mut mods: Vec<&str> = chosen.into_iter().map(|(_, any)| *pick(rng, any)).collect();
        if rng.u8(0..8) == 0 {
            rng.shuffle(&mut mods);
        }
        let hinted = mods.contains(&".L2::cache_hint");
        let taken = self.operands.iter().filter(|name| **name != "h" || hinted);
        let operands = taken.filter_map(|name| match name.strip_suffix('?') {
            Some(name) => rng.bool().then(|| operand(rng, name, &mods)),
            None => Some(operand(rng, name, &mods)),
        });
        let operands: Vec<String> = operands.collect();
        format!("{}{} {};", self.op, mods.concat(), operands.join(", "))
    }
}

/// The text in pieces that mean something by themselves.
fn pieces(text: &str) -> Vec<&str> {
    text.split_inclusive([' ', '\n', '\t', ',', '.', ';', '[', ']', '{', '}', '(', ')', '|', '+']).collect()
}

impl Inputs {
    /// Made of these texts, which should be good ones.
    pub fn new(good: Vec<String>) -> Self {
        let words = good.iter().flat_map(|text| pieces(text)).map(str::to_string).collect();
        Inputs { good, words, forms: forms() }
    }

    /// The text of a seed.
    pub fn text(&self, seed: u64) -> String {
        let mut rng = Rng::with_seed(seed);
        let mut text = if rng.bool() { self.fresh(&mut rng) } else { pick(&mut rng, &self.good).clone() };
        for _ in 0..rng.usize(0..4) {
            text = self.changed(&mut rng, text);
        }
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        text
    }

    /// A kernel of random instructions.
    fn fresh(&self, rng: &mut Rng) -> String {
        let mut text = format!(
            ".version {}\n.target sm_{}\n.address_size 64\n.global .align 8 .b8 table[64] = {{1, 2, 3}};\n\
             .const .align 8 .b32 fixed[8] = {{-1}};\n.visible .entry k(.param .u64 x, .param .u32 n)\n{{\n",
            pick(rng, &["6.5", "7.8", "8.5", "9.0"]),
            pick(rng, &["75", "80", "90"]),
        );
        for (class, word) in
            [('h', "b16"), ('r', "b32"), ('d', "b64"), ('f', "f32"), ('g', "f64"), ('p', "pred")]
        {
            text += &format!(".reg .{word} %{class}<6>;\n");
        }
        text += ".shared .align 8 .b32 cell[16];\n.local .align 8 .b32 room[16];\nld.param.u64 %d0, [x];\n";
        text += "T: .branchtargets END, END;\n";
        for n in 0..rng.usize(1..16) {
            if rng.u8(0..8) == 0 {
                text += &format!("L{n}:\n");
            }
            if rng.u8(0..6) == 0 {
                text += if rng.bool() { "@%p0 " } else { "@!%p2 " };
            }
            text += &pick(rng, &self.forms).write(rng);
            text.push('\n');
        }
        // What the registers hold at the end is seen from outside.
        text += "END:\nld.param.u64 %d0, [x];\nmov.u32 %r5, %tid.x;\nmad.wide.u32 %d0, %r5, 64, %d0;\n";
        for n in 0..4 {
            text += &format!(
                "st.global.f32 [%d0+{}], %f{n};\nst.global.u32 [%d0+{}], %r{n};\n",
                4 * n,
                16 + 4 * n
            );
            text += &format!("st.global.u16 [%d0+{}], %h{n};\n", 32 + 2 * n);
        }
        text + "st.global.f64 [%d0+40], %g1;\nst.global.u64 [%d0+48], %d1;\nret;\n}\n"
    }

    /// One change: of a word, a line, a byte, or of how often something stands there.
    fn changed(&self, rng: &mut Rng, text: String) -> String {
        let lines = rng.bool();
        let mut pieces: Vec<&str> = if lines { text.split_inclusive('\n').collect() } else { pieces(&text) };
        if pieces.is_empty() {
            return text;
        }
        let (at, from) = (rng.usize(0..pieces.len()), rng.usize(0..pieces.len()));
        match rng.u8(0..10) {
            0 | 1 => pieces.swap(at, from),
            2 => pieces.insert(at, pieces[from]),
            3 | 4 => pieces[at] = pick(rng, self.words.as_slice()).as_str(),
            5 => {
                pieces.remove(at);
            }
            6 => pieces.truncate(at + 1),
            7 => return self.other_byte(rng, text),
            8 if rng.u8(0..8) == 0 => {
                let times = 1 << rng.u8(1..16);
                let repeated = pieces[at].repeat(times.min(TEXT_BYTES_MAX / pieces[at].len()));
                pieces[at] = &repeated;
                return pieces.concat();
            }
            _ => {
                let number = rng.i64(..) >> rng.u8(0..64);
                let number = number.to_string();
                let start = pieces[at].trim_start_matches(|c: char| c.is_ascii_digit());
                let changed = number + start;
                pieces[at] = &changed;
                return pieces.concat();
            }
        }
        pieces.concat()
    }

    fn other_byte(&self, rng: &mut Rng, text: String) -> String {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = rng.usize(0..bytes.len());
            bytes[at] = rng.u8(..);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
