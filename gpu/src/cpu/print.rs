//! What kernels say: `vprintf`, and the words of `__assertfail`.
//!
//! Owns: the formatting of C's `printf` as CUDA has it. A block's text is kept with the block, so that the text of a
//! launch can be put together in the order of its blocks, whatever the cores did.
//! Never: writes anywhere; reads memory but through the same checks as a load.
//! Limits: [`PRINTED_BYTES_MAX`], [`WORK_BYTES_MAX`], [`TEXT_BYTES_MAX`], [`FIELD_MAX`].
//! Tests: `gpu/tests/cpu_print.rs`.

use super::{
    code::{Code, NONE},
    lanes::{Frame, LANES, lanes_of, store},
    memory::{Access, Area, BadAccess, Groups},
    transfer::{Memory, gather},
};

/// Text of one run: some pages of it. What is more is dropped, and a line says so.
pub const PRINTED_BYTES_MAX: usize = 64 * 1024;
/// Bytes that one block's printing may read and write: some times what is kept of it. A format of a thousand long strings
/// is a single instruction, so instructions do not bound its time.
const WORK_BYTES_MAX: usize = 1024 * 1024;
/// What `vprintf` gives for what is no longer printed: CUDA's answer to trouble of its own.
const UNPRINTED: u32 = -2i32 as u32;
/// One format or string argument: longer ones are cut.
const TEXT_BYTES_MAX: usize = 4096;
/// Characters of one field: a width or precision beyond is taken as this.
const FIELD_MAX: usize = 256;
/// Characters of each part of an assertion's message.
const ASSERTION_CHARS_MAX: usize = 200;

/// The text of a launch's blocks, kept in their order and cut at [`PRINTED_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Printed {
    blocks: std::collections::BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Printed {
    pub fn add(&mut self, block: u64, text: Vec<u8>) {
        self.bytes += text.len();
        self.blocks.insert(block, text);
        // Later blocks give way: what the earlier ones said fills the room.
        while let Some(last) = self.blocks.last_entry()
            && self.bytes - last.get().len() > PRINTED_BYTES_MAX
        {
            self.bytes -= last.remove().len();
        }
    }

    /// Appends everything to the text of the run, or as much as there is room for and a last line that says so.
    pub fn append_to(self, text: &mut String) {
        const CUT: &str = "\n[more was printed than 64 KiB; the rest is dropped]\n";
        let whole: Vec<u8> = self.blocks.into_values().flatten().collect();
        let whole = String::from_utf8_lossy(&whole);
        if whole.is_empty() || text.ends_with(CUT) {
            return;
        }
        let mut room = PRINTED_BYTES_MAX.saturating_sub(text.len());
        if whole.len() <= room {
            return text.push_str(&whole);
        }
        while !whole.is_char_boundary(room) {
            room -= 1;
        }
        text.push_str(&whole[..room]);
        text.push_str(CUT);
    }
}

/// One lane's view of memory.
struct Reader<'m, 'a, 'g> {
    memory: &'m mut Memory<'a, 'g>,
    lane: usize,
}

impl Reader<'_, '_, '_> {
    fn byte(&mut self, address: u64) -> Result<u8, BadAccess> {
        let (m, lane) = (&mut *self.memory, self.lane);
        m.private.print_work += 1;
        let one = Access {
            area: Area::Generic,
            addresses: &[address; LANES],
            mask: 1 << lane,
            size: 1,
            write: false,
            first_thread: m.first_thread,
        };
        let mut groups = Groups::new(m.global, m.private, one);
        let found = groups.next(m.global, m.private)?;
        Ok(found.map_or(0, |(places, mask)| gather::<u8>(&places, mask, 0)[lane]))
    }

    fn number(&mut self, address: u64, bytes: u64) -> Result<u64, BadAccess> {
        (0..bytes).try_fold(0, |v, n| Ok(v | u64::from(self.byte(address.wrapping_add(n))?) << (8 * n)))
    }

    fn text(&mut self, address: u64) -> Result<Vec<u8>, BadAccess> {
        let mut text = Vec::new();
        while text.len() < TEXT_BYTES_MAX {
            match self.byte(address.wrapping_add(text.len() as u64))? {
                0 => break,
                b => text.push(b),
            }
        }
        Ok(text)
    }
}

/// The arguments, one after the other as C aligns them.
struct Arguments {
    at: u64,
    count: u32,
}

impl Arguments {
    fn next(&mut self, reader: &mut Reader<'_, '_, '_>, bytes: u64) -> Result<u64, BadAccess> {
        self.at = self.at.wrapping_add(bytes - 1) & !(bytes - 1);
        let value = reader.number(self.at, bytes)?;
        self.at = self.at.wrapping_add(bytes);
        self.count += 1;
        Ok(value)
    }
}

/// One `%...` of a format.
#[derive(Debug, Default)]
struct Field {
    left: bool,
    plus: bool,
    blank: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    long: bool,
    /// Bits that an argument of four bytes is cut to.
    short: Option<u32>,
}

impl Field {
    /// `digits` with sign or prefix, padded.
    fn pad(&self, out: &mut Vec<u8>, prefix: &str, digits: &str, zeros: bool) {
        let missing = self.width.saturating_sub(prefix.len() + digits.len());
        let fill = |out: &mut Vec<u8>, with: u8| out.extend(std::iter::repeat_n(with, missing));
        if !self.left && !zeros {
            fill(out, b' ');
        }
        out.extend_from_slice(prefix.as_bytes());
        if !self.left && zeros {
            fill(out, b'0');
        }
        out.extend_from_slice(digits.as_bytes());
        if self.left {
            fill(out, b' ');
        }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.blank) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    fn integer(&self, out: &mut Vec<u8>, conversion: u8, bits: u64) {
        let width = if self.long { 64 } else { self.short.unwrap_or(32) };
        let cut = bits << (64 - width);
        let (prefix, digits) = match conversion {
            b'd' | b'i' => {
                let value = cut as i64 >> (64 - width);
                (self.sign(value < 0), value.unsigned_abs().to_string())
            }
            b'o' => (if self.alternate { "0" } else { "" }, format!("{:o}", cut >> (64 - width))),
            b'x' => {
                (if self.alternate && cut != 0 { "0x" } else { "" }, format!("{:x}", cut >> (64 - width)))
            }
            b'X' => {
                (if self.alternate && cut != 0 { "0X" } else { "" }, format!("{:X}", cut >> (64 - width)))
            }
            _ => ("", (cut >> (64 - width)).to_string()),
        };
        let digits = match self.precision {
            Some(0) if cut == 0 => String::new(),
            Some(least) => format!("{digits:0>least$}"),
            None => digits,
        };
        self.pad(out, prefix, &digits, self.zero && self.precision.is_none());
    }

    fn float(&self, out: &mut Vec<u8>, conversion: u8, value: f64) {
        let upper = conversion.is_ascii_uppercase();
        let sign = self.sign(value.is_sign_negative() && !value.is_nan());
        let size = value.abs();
        let digits = if value.is_nan() {
            "nan".to_string()
        } else if value.is_infinite() {
            "inf".to_string()
        } else {
            let precision = self.precision.unwrap_or(6);
            match conversion.to_ascii_lowercase() {
                b'e' => exponential(size, precision),
                b'g' => general(size, precision.max(1), self.alternate),
                b'a' => hexadecimal(size),
                _ => format!("{size:.precision$}"),
            }
        };
        let digits = if upper { digits.to_uppercase() } else { digits };
        self.pad(out, sign, &digits, self.zero && value.is_finite());
    }
}

/// `1.500000e+00`: C writes the exponent with its sign and at least two digits.
fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn general(value: f64, significant: usize, keep_zeros: bool) -> String {
    let text = exponential(value, significant - 1);
    let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let trim = |digits: &str| match digits.contains('.') && !keep_zeros {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => digits.to_string(),
    };
    if exponent < -4 || exponent >= significant as i32 {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{exponent}", trim(mantissa));
    }
    let decimals = (significant as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}

fn hexadecimal(value: f64) -> String {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let (lead, exponent) = match exponent {
        0 if fraction == 0 => (0, 0),
        0 => (0, -1022),
        e => (1, e - 1023),
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x{lead}{point}{digits}p{exponent:+}")
}

/// Writes `format` with its arguments; gives how many it took.
fn write(
    reader: &mut Reader<'_, '_, '_>,
    format: &[u8],
    arguments: u64,
    out: &mut Vec<u8>,
) -> Result<u32, BadAccess> {
    let mut arguments = Arguments { at: arguments, count: 0 };
    let mut rest = format;
    while reader.memory.private.print_work + out.len() < WORK_BYTES_MAX
        && let Some((first, after)) = rest.split_first()
    {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let mut field = Field::default();
        rest = flags(&mut field, rest);
        (field.width, rest) = size(reader, &mut arguments, rest, |v| {
            field.left |= (v as i32) < 0;
            (v as i32).unsigned_abs() as usize
        })?;
        if let Some(after) = rest.strip_prefix(b".") {
            let (precision, after) = size(reader, &mut arguments, after, |v| v as usize)?;
            (field.precision, rest) = (Some(precision), after);
        }
        rest = length(&mut field, rest);
        let Some((conversion, after)) = rest.split_first() else { break };
        rest = after;
        one(reader, &mut arguments, &field, *conversion, out)?;
    }
    Ok(arguments.count)
}

fn flags<'a>(field: &mut Field, mut rest: &'a [u8]) -> &'a [u8] {
    while let Some((flag, after)) = rest.split_first() {
        match flag {
            b'-' => field.left = true,
            b'+' => field.plus = true,
            b' ' => field.blank = true,
            b'#' => field.alternate = true,
            b'0' => field.zero = true,
            _ => break,
        }
        rest = after;
    }
    rest
}

/// A width or precision: digits, or `*` for an argument.
fn size<'a>(
    reader: &mut Reader<'_, '_, '_>,
    arguments: &mut Arguments,
    rest: &'a [u8],
    mut given: impl FnMut(u64) -> usize,
) -> Result<(usize, &'a [u8]), BadAccess> {
    if let Some(after) = rest.strip_prefix(b"*") {
        return Ok((given(arguments.next(reader, 4)?).min(FIELD_MAX), after));
    }
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let value = rest[..digits].iter().fold(0usize, |v, d| (v * 10 + usize::from(d - b'0')).min(FIELD_MAX));
    Ok((value, &rest[digits..]))
}

fn length<'a>(field: &mut Field, mut rest: &'a [u8]) -> &'a [u8] {
    while let Some((letter, after)) = rest.split_first() {
        match letter {
            b'l' | b'z' | b'j' | b't' | b'L' => field.long = true,
            b'h' => field.short = Some(if field.short.is_some() { 8 } else { 16 }),
            _ => break,
        }
        rest = after;
    }
    rest
}

fn one(
    reader: &mut Reader<'_, '_, '_>,
    arguments: &mut Arguments,
    field: &Field,
    conversion: u8,
    out: &mut Vec<u8>,
) -> Result<(), BadAccess> {
    match conversion {
        b'%' => out.push(b'%'),
        b'd' | b'i' | b'u' | b'o' | b'x' | b'X' => {
            let bits = arguments.next(reader, if field.long { 8 } else { 4 })?;
            field.integer(out, conversion, bits);
        }
        b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
            let bits = arguments.next(reader, 8)?;
            field.float(out, conversion, f64::from_bits(bits));
        }
        b'p' => {
            let bits = arguments.next(reader, 8)?;
            field.pad(out, "", &format!("{bits:#x}"), false);
        }
        b'c' => {
            let byte = arguments.next(reader, 4)? as u8;
            let missing = field.width.saturating_sub(1);
            let blanks = std::iter::repeat_n(b' ', missing);
            if field.left {
                out.push(byte);
                out.extend(blanks);
            } else {
                out.extend(blanks);
                out.push(byte);
            }
        }
        b's' => {
            let address = arguments.next(reader, 8)?;
            let mut text = reader.text(address)?;
            text.truncate(field.precision.unwrap_or(TEXT_BYTES_MAX));
            field.pad(out, "", &String::from_utf8_lossy(&text), false);
        }
        // What C leaves open is shown as it was written.
        other => out.extend([b'%', other]),
    }
    Ok(())
}

/// `vprintf`: every lane says its own, in the order of the lanes. The result is the number of arguments.
pub fn print(m: &mut Memory<'_, '_>, f: &mut Frame, i: &Code) -> Result<(), BadAccess> {
    let (formats, arguments) = (*f.wides(i.a), *f.wides(i.b));
    let mut counts = [0u32; LANES];
    for lane in lanes_of(f.mask) {
        if m.private.print_work >= WORK_BYTES_MAX {
            counts[lane] = UNPRINTED;
            continue;
        }
        let mut reader = Reader { memory: m, lane };
        let format = reader.text(formats[lane])?;
        let mut text = Vec::new();
        counts[lane] = write(&mut reader, &format, arguments[lane], &mut text)?;
        m.private.print_work += text.len();
        let printed = &mut m.private.printed;
        // One byte too many shows that something was cut.
        let room = (PRINTED_BYTES_MAX + 1).saturating_sub(printed.len());
        printed.extend_from_slice(&text[..text.len().min(room)]);
    }
    if i.d != NONE {
        store::<u32>(f, i.d, &counts);
    }
    Ok(())
}

/// The words of a failed assertion: `message`, the place in its source, the function.
pub fn assertion(m: &mut Memory<'_, '_>, f: &Frame, i: &Code) -> String {
    let lane = f.mask.trailing_zeros() as usize & (LANES - 1);
    let mut text = |slot: u32| {
        let mut reader = Reader { memory: m, lane };
        let bytes =
            if slot == NONE { Vec::new() } else { reader.text(f.wides(slot)[lane]).unwrap_or_default() };
        let text = String::from_utf8_lossy(&bytes);
        text.chars().filter(|c| !c.is_control()).take(ASSERTION_CHARS_MAX).collect::<String>()
    };
    let (message, file, function) = (text(i.a), text(i.b), text(i.d));
    let line = if i.c == NONE { 0 } else { f.words(i.c)[lane] };
    format!("`{message}` at {file}:{line} in `{function}`")
}
