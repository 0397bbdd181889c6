//! Text to tokens, one at a time.
//!
//! Owns: the PTX alphabet (identifiers, dotted words, numbers, strings, comments) and where each token stands.
//! Never: keeps more than the token in hand, so the lexer's memory does not grow with the text; never decides
//! what a word means.
//! Limits: names up to [`NAME_BYTES_MAX`]; the caller bounds the text.
//! Tests: `ptx/tests.rs`.

use super::error::{At, Refusal};

/// C++ mangled names run to some hundred bytes; longer ones are refused so that messages stay readable.
pub const NAME_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tok<'a> {
    /// A name, a register, an opcode or the sink `_`.
    Word(&'a str),
    /// A dotted word without its dot: `.f32` gives `f32`, `.shared::cta` gives `shared::cta`.
    Dot(&'a str),
    Int(u64),
    F32(u32),
    F64(u64),
    Str,
    Punct(u8),
    End,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub tok: Tok<'a>,
    pub at: At,
    /// The token as written, for messages.
    pub text: &'a str,
}

#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    line: u32,
    line_start: usize,
}

fn word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$'
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Lexer { text, pos: 0, line: 1, line_start: 0 }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn at(&self, start: usize) -> At {
        At {
            line: self.line,
            column: (start - self.line_start) as u32 + 1,
            length: (self.pos - start).max(1) as u32,
        }
    }

    fn refuse(&self, start: usize, found: &str, expected: &str) -> Refusal {
        Refusal::unexpected(self.at(start), found, expected)
    }

    /// Passes blanks and comments. An unclosed comment is an error, not the end of the text.
    fn skip_blank(&mut self) -> Result<(), Refusal> {
        loop {
            match self.peek(0) {
                b'\n' => {
                    self.pos += 1;
                    self.line += 1;
                    self.line_start = self.pos;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.pos += 1,
                b'/' if self.peek(1) == b'/' => self.skip_line(),
                b'/' if self.peek(1) == b'*' => {
                    let start = self.pos;
                    let open = self.at(start);
                    self.pos += 2;
                    loop {
                        if self.pos >= self.text.len() {
                            return Err(Refusal::unexpected(open, "a comment that never ends", "`*/`"));
                        }
                        if self.peek(0) == b'*' && self.peek(1) == b'/' {
                            self.pos += 2;
                            break;
                        }
                        if self.peek(0) == b'\n' {
                            self.line += 1;
                            self.line_start = self.pos + 1;
                        }
                        self.pos += 1;
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes the rest of the line: debug directives such as `.loc` end with it.
    pub fn skip_line(&mut self) {
        while self.pos < self.text.len() && self.peek(0) != b'\n' {
            self.pos += 1;
        }
    }

    pub fn next(&mut self) -> Result<Token<'a>, Refusal> {
        self.skip_blank()?;
        let start = self.pos;
        if start >= self.text.len() {
            return Ok(Token { tok: Tok::End, at: self.at(start), text: "the end of the text" });
        }
        let b = self.peek(0);
        let tok = match b {
            b'.' if word_byte(self.peek(1)) => {
                self.pos += 1;
                // Numbers such as `.5` do not exist in PTX, so a dot always begins a word.
                while word_byte(self.peek(0))
                    || (self.peek(0) == b':' && self.peek(1) == b':' && word_byte(self.peek(2)))
                {
                    self.pos += if self.peek(0) == b':' { 2 } else { 1 };
                }
                Tok::Dot(&self.text[start + 1..self.pos])
            }
            b'0'..=b'9' => self.number(start)?,
            b'"' => self.string(start)?,
            b'%' | b'$' | b'_' => {
                self.pos += 1;
                self.word(start)
            }
            _ if b.is_ascii_alphabetic() => self.word(start),
            b'{' | b'}' | b'(' | b')' | b'[' | b']' | b'<' | b'>' | b',' | b';' | b':' | b'@' | b'!'
            | b'|' | b'+' | b'-' | b'=' | b'.' | b'*' | b'/' | b'~' | b'^' | b'&' | b'?' => {
                self.pos += 1;
                Tok::Punct(b)
            }
            _ => {
                let c = self.text[start..].chars().next().unwrap_or('?');
                let shown = c.escape_default().to_string();
                return Err(self.refuse(start, &format!("the character `{shown}`"), "a PTX token"));
            }
        };
        if self.pos - start > NAME_BYTES_MAX && !matches!(tok, Tok::Str) {
            return Err(Refusal::limit(self.at(start), "bytes in a name", NAME_BYTES_MAX as u64));
        }
        Ok(Token { tok, at: self.at(start), text: &self.text[start..self.pos] })
    }

    fn word(&mut self, start: usize) -> Tok<'a> {
        while word_byte(self.peek(0)) {
            self.pos += 1;
        }
        Tok::Word(&self.text[start..self.pos])
    }

    fn string(&mut self, start: usize) -> Result<Tok<'a>, Refusal> {
        self.pos += 1;
        while self.pos < self.text.len() && self.peek(0) != b'\n' {
            match self.peek(0) {
                b'"' => {
                    self.pos += 1;
                    return Ok(Tok::Str);
                }
                b'\\' if self.peek(1) != b'\n' && self.peek(1) != 0 => self.pos += 2,
                _ => self.pos += 1,
            }
            // Strings may hold any UTF-8; stop only at its borders.
            while !self.text.is_char_boundary(self.pos) {
                self.pos += 1;
            }
        }
        Err(self.refuse(start, "a string that never ends", "`\"`"))
    }

    fn number(&mut self, start: usize) -> Result<Tok<'a>, Refusal> {
        let second = self.peek(1);
        if self.peek(0) == b'0' && matches!(second, b'f' | b'F' | b'd' | b'D') {
            let digits = if matches!(second, b'f' | b'F') { 8 } else { 16 };
            self.pos += 2;
            while word_byte(self.peek(0)) {
                self.pos += 1;
            }
            let body = &self.text[start + 2..self.pos];
            if body.len() != digits || !body.bytes().all(|b| b.is_ascii_hexdigit()) {
                let expected = format!("{digits} hexadecimal digits after `0{}`", second as char);
                return Err(self.refuse(start, &self.text[start..self.pos], &expected));
            }
            let bits = u64::from_str_radix(body, 16).unwrap_or(0);
            return Ok(if digits == 8 { Tok::F32(bits as u32) } else { Tok::F64(bits) });
        }
        if self.peek(0) == b'0' && matches!(second, b'x' | b'X' | b'b' | b'B') {
            let radix = if matches!(second, b'x' | b'X') { 16 } else { 2 };
            self.pos += 2;
            let from = self.pos;
            while word_byte(self.peek(0)) {
                self.pos += 1;
            }
            return self.integer(start, &self.text[from..self.pos], radix);
        }
        while self.peek(0).is_ascii_digit() {
            self.pos += 1;
        }
        let mut float = false;
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            float = true;
            self.pos += 1;
            while self.peek(0).is_ascii_digit() {
                self.pos += 1;
            }
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                float = true;
                self.pos += 1 + sign;
                while self.peek(0).is_ascii_digit() {
                    self.pos += 1;
                }
            }
        }
        if float {
            let value: f64 = self.text[start..self.pos]
                .parse()
                .map_err(|_| self.refuse(start, &self.text[start..self.pos], "a floating-point number"))?;
            return Ok(Tok::F64(value.to_bits()));
        }
        while word_byte(self.peek(0)) {
            self.pos += 1;
        }
        let body = &self.text[start..self.pos];
        let octal = body.len() > 1 && body.starts_with('0') && body.as_bytes()[1].is_ascii_digit();
        if octal { self.integer(start, &body[1..], 8) } else { self.integer(start, body, 10) }
    }

    fn integer(&self, start: usize, digits: &str, radix: u32) -> Result<Tok<'a>, Refusal> {
        let digits = digits.strip_suffix('U').unwrap_or(digits);
        let clean = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
        match u64::from_str_radix(digits, radix) {
            Ok(value) if clean => Ok(Tok::Int(value)),
            _ => Err(self.refuse(start, &self.text[start..self.pos], "an integer of at most 64 bits")),
        }
    }
}
