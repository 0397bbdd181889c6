//! What can be said of CUDA C without a compiler: whether it could read files, and which kernels it surely lacks.
//!
//! Owns a reader of words that knows comments, strings and line splices, and no grammar. Where macros or conditions could
//! make another text of it, it says nothing: the compiler has the last word. Limits: time and memory grow with the
//! text, which is [`ion_protocol::limits::MODULE_BYTES_MAX`] at most. Tests are at the end.

use std::collections::BTreeSet;

/// Words that read a file, where a `#` or the language has them.
const READING: [&str; 3] = ["include", "embed", "import"];

/// The line of the first word by which a preprocessor could be made to read a file, or 0 where the word is not in one piece.
/// On the safe side: spaces and line splices are taken out first, comments are not, so a comment that says "include" in a
/// text with a `#` is such a line as well.
pub fn could_include(text: &str) -> Option<u32> {
    let hash = text.contains('#') || text.contains("%:") || text.contains("??=") || text.contains("_Pragma");
    let squeezed: String = text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect();
    let squeezed = squeezed.replace("??/", "");
    let found = READING.into_iter().find(|word| (hash || *word == "import") && squeezed.contains(word))?;
    let line = text.lines().position(|line| line.contains(found));
    Some(line.map_or(0, |n| n as u32 + 1))
}

/// What a text has of a kernel's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The kernel, or something that may become it.
    Perhaps,
    /// Surely not. These are the kernels that were read, as far as they keep their names.
    Absent {
        /// In order of appearance.
        kernels: Vec<String>,
    },
    /// One of that name which the compiler gives a longer one, for want of `extern "C"`.
    Renamed {
        /// Where, from 1.
        line: u32,
    },
}

/// Looks for a kernel by the name that a launch gives.
pub fn kernel(text: &str, name: &str) -> Kernel {
    // Other spellings of `#` and braces, which nobody uses: left to the compiler, as are names that it makes itself.
    let other = ["%:", "<%", "??"].iter().any(|other| text.contains(other));
    if other || splices_a_word(text) || name.starts_with("_Z") {
        return Kernel::Perhaps;
    }
    let tokens = Reader::new(text).tokens();
    // A name for the assembler, or an entry that it is given.
    if tokens.iter().any(|token| matches!(token.what, What::Text(text) if text.contains(name))) {
        return Kernel::Perhaps;
    }
    let macros = Macros::of(&tokens);
    let read = if macros.opaque { None } else { kernels(&tokens, &macros) };
    let known = read.iter().flatten().filter(|k| k.keeps_name).map(|k| k.name.to_owned());
    if !macros.pastes && !tokens.iter().any(|token| token.what == What::Word(name)) {
        return Kernel::Absent { kernels: known.collect() };
    }
    match &read {
        None => Kernel::Perhaps,
        // One declaration in C's way is enough for all of them.
        Some(read) if read.iter().any(|k| k.name == name && k.keeps_name) => Kernel::Perhaps,
        Some(read) => match read.iter().find(|k| k.name == name) {
            Some(found) => Kernel::Renamed { line: found.line },
            None => Kernel::Absent { kernels: known.collect() },
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What<'a> {
    /// A name, a keyword or a number.
    Word(&'a str),
    /// What stands between quotes.
    Text(&'a str),
    Mark(u8),
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    what: What<'a>,
    line: u32,
    /// Of a line that begins with `#`.
    directive: bool,
}

/// Whether a backslash at the end of a line may part a word.
fn splices_a_word(text: &str) -> bool {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(|| Some((lines.next()?, *lines.peek()?))).any(|(line, next)| {
        let head = line.strip_suffix('\\').and_then(|line| line.bytes().last());
        head.is_some_and(is_word) && next.bytes().next().is_some_and(is_word)
    })
}

/// Cuts a text into tokens.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    directive: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, directive: false }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or(&[])
    }

    /// Goes on by `bytes`, or to the end, and gives what was passed.
    fn pass(&mut self, bytes: usize) -> &'a [u8] {
        let rest = self.rest();
        let passed = &rest[..bytes.min(rest.len())];
        self.line = self.line.saturating_add(passed.iter().filter(|b| **b == b'\n').count() as u32);
        self.at += passed.len();
        passed
    }

    fn tokens(mut self) -> Vec<Token<'a>> {
        let mut tokens = Vec::new();
        // Whether a `#` would begin a directive.
        let mut fresh = true;
        while let Some(&byte) = self.rest().first() {
            let (line, began) = (self.line, fresh);
            fresh = false;
            let what = match byte {
                b'\n' => {
                    self.pass(1);
                    (self.directive, fresh) = (false, true);
                    continue;
                }
                b'\\' if self.splice() > 0 => {
                    self.pass(self.splice());
                    fresh = began;
                    continue;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {
                    self.pass(1);
                    fresh = began;
                    continue;
                }
                b'/' if self.rest().starts_with(b"//") => {
                    self.skip_line();
                    continue;
                }
                b'/' if self.rest().starts_with(b"/*") => {
                    self.pass(2);
                    self.past(b"*/");
                    fresh = began;
                    continue;
                }
                b'"' => What::Text(self.quoted(b'"')),
                b'\'' => What::Text(self.quoted(b'\'')),
                _ if is_word(byte) => {
                    let word = self.word();
                    match self.rest().first() {
                        Some(b'"') if matches!(word, "R" | "LR" | "uR" | "UR" | "u8R") => {
                            What::Text(self.raw())
                        }
                        _ => What::Word(word),
                    }
                }
                _ => {
                    self.pass(1);
                    self.directive |= byte == b'#' && began;
                    What::Mark(byte)
                }
            };
            tokens.push(Token { what, line, directive: self.directive });
        }
        tokens
    }

    /// Bytes of a splice here: a backslash and the end of its line.
    fn splice(&self) -> usize {
        match self.rest() {
            [b'\\', b'\n', ..] => 2,
            [b'\\', b'\r', b'\n', ..] => 3,
            _ => 0,
        }
    }

    fn skip_line(&mut self) {
        while let Some(&byte) = self.rest().first() {
            match (byte, self.splice()) {
                (b'\n', _) => return,
                (_, 0) => self.pass(1),
                (_, splice) => self.pass(splice),
            };
        }
    }

    /// To behind `end`, or to the end of the text.
    fn past(&mut self, end: &[u8]) -> &'a [u8] {
        let rest = self.rest();
        let at = rest.windows(end.len()).position(|bytes| bytes == end).unwrap_or(rest.len());
        self.pass(at + end.len());
        &rest[..at]
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        // Digits may be parted: 1'000.
        let number = rest[0].is_ascii_digit();
        let more = number && rest.get(end) == Some(&b'\'') && rest.get(end + 1).is_some_and(|b| is_word(*b));
        let word = std::str::from_utf8(self.pass(end)).unwrap_or_default();
        if more {
            self.pass(1);
            self.word();
        }
        word
    }

    /// What stands in quotes that end on their line.
    fn quoted(&mut self, quote: u8) -> &'a str {
        self.pass(1);
        let rest = self.rest();
        loop {
            match self.rest().first() {
                None | Some(b'\n') => break,
                Some(b'\\') => self.pass(self.splice().max(2)),
                Some(&byte) => {
                    self.pass(1);
                    if byte == quote {
                        break;
                    }
                    continue;
                }
            };
        }
        let length = rest.len() - self.rest().len();
        std::str::from_utf8(&rest[..length.saturating_sub(1)]).unwrap_or_default()
    }

    /// `R"name(...)name"`, from its quote on.
    fn raw(&mut self) -> &'a str {
        self.pass(1);
        let name = self.past(b"(");
        let end = [b")", name, b"\""].concat();
        std::str::from_utf8(self.past(&end)).unwrap_or_default()
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// What directives can do to a text.
#[derive(Default)]
struct Macros<'a> {
    names: BTreeSet<&'a str>,
    /// Two words may be made one.
    pastes: bool,
    /// One stands for a part of a declaration, so what is written is not what is compiled.
    opaque: bool,
}

impl<'a> Macros<'a> {
    /// Words that declarations of kernels are made of.
    const DECLARING: [&'static str; 5] = ["__global__", "extern", "template", "namespace", "global"];

    fn of(tokens: &[Token<'a>]) -> Self {
        let mut macros = Self::default();
        let mut before = [What::Mark(0); 2];
        for token in tokens {
            if token.directive {
                match (before, token.what) {
                    ([What::Mark(b'#'), What::Word("define")], What::Word(name)) => {
                        macros.names.insert(name);
                    }
                    ([_, What::Mark(b'#')], What::Mark(b'#')) => macros.pastes = true,
                    (_, What::Word(word)) if Self::DECLARING.contains(&word) => macros.opaque = true,
                    (_, What::Mark(b'{' | b'}')) => macros.opaque = true,
                    (_, What::Word(_) | What::Text(_) | What::Mark(_)) => {}
                }
            } else if matches!(token.what, What::Word("__attribute__" | "__declspec" | "__location__")) {
                macros.opaque = true;
            }
            before = [before[1], token.what];
        }
        macros
    }
}

/// A kernel that a text declares.
struct Declared<'a> {
    name: &'a str,
    line: u32,
    keeps_name: bool,
}

/// All kernels of a text; `None` where one can't be read for sure.
fn kernels<'a>(tokens: &[Token<'a>], macros: &Macros<'a>) -> Option<Vec<Declared<'a>>> {
    let words: Vec<Token<'a>> = tokens.iter().filter(|token| !token.directive).copied().collect();
    let mut found = Vec::new();
    // Of each open brace, whether it is that of `extern "C"`.
    let mut open: Vec<bool> = Vec::new();
    // Where the declaration at hand begins.
    let mut began = 0;
    for (n, token) in words.iter().enumerate() {
        match token.what {
            What::Mark(b'{') => {
                let language = matches!(words[began..n], [.., Token { what: What::Text("C"), .. }]);
                open.push(language);
                began = n + 1;
            }
            What::Mark(b'}') => {
                open.pop()?;
                began = n + 1;
            }
            What::Mark(b';') => began = n + 1,
            What::Word("__global__") => {
                let (name, line) = declared(&words[n + 1..])?;
                let head = &words[began..n];
                let end = words[n..].iter().position(|token| token.what == What::Mark(b'('))?;
                let whole = &words[began..n + end];
                let replaced =
                    |token: &Token<'_>| matches!(token.what, What::Word(word) if macros.names.contains(word));
                if whole.iter().any(replaced) || macros.names.contains(name) {
                    return None;
                }
                let c = whole.windows(2).any(|pair| {
                    matches!((pair[0].what, pair[1].what), (What::Word("extern"), What::Text("C")))
                });
                let template = head.iter().any(|token| token.what == What::Word("template"));
                let keeps_name = !template && (c || open.contains(&true));
                found.push(Declared { name, line, keeps_name });
            }
            What::Word(_) | What::Text(_) | What::Mark(_) => {}
        }
    }
    open.is_empty().then_some(found)
}

/// The name that a declaration gives, from behind `__global__` on: the word in front of the parameters.
fn declared<'a>(after: &[Token<'a>]) -> Option<(&'a str, u32)> {
    let mut at = 0;
    loop {
        match (after.get(at)?.what, after.get(at + 1)?.what) {
            // Its argument is a number or an expression, in parentheses.
            (
                What::Word("__launch_bounds__" | "__maxnreg__" | "__cluster_dims__" | "__block_size__"),
                What::Mark(b'('),
            ) => {
                at = 1 + closing(after, at + 1)?;
            }
            (What::Word(name), What::Mark(b'(')) => return Some((name, after[at].line)),
            (What::Word(_), What::Word(_)) => at += 1,
            (What::Word(_), What::Text(_) | What::Mark(_)) | (What::Text(_) | What::Mark(_), _) => {
                return None;
            }
        }
    }
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (n, token) in tokens.iter().enumerate().skip(open) {
        match token.what {
            What::Mark(b'(') => depth += 1,
            What::Mark(b')') => depth = depth.checked_sub(1)?,
            What::Word(_) | What::Text(_) | What::Mark(_) => {}
        }
        if depth == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(kernels: &[&str]) -> Kernel {
        Kernel::Absent { kernels: kernels.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_kernel_is_known_by_its_declaration() {
        for text in [
            "extern \"C\" __global__ void k(float* x) { x[0] = 1; }",
            "extern \"C\" {\n__device__ int f() { return 1; }\n__global__ void k() {}\n}",
            "extern \"C\" __global__ void __launch_bounds__(256, (1 + 1)) k(int n) {}",
            "extern \"C\" __global__ __launch_bounds__(256) void k(int n) {}",
            "extern \"C\" __global__ void k();\n__global__ void k() {}",
            "#ifdef __cplusplus\nextern \"C\" {\n#endif\n__global__ void k() {}\n#ifdef __cplusplus\n}\n#endif",
            "template<class T> __device__ T f(T x) { return x; }\nextern \"C\" __global__ void k() {}",
        ] {
            assert_eq!(kernel(text, "k"), Kernel::Perhaps, "{text}");
            assert_eq!(kernel(text, "other"), absent(&["k"]), "{text}");
        }
        assert_eq!(kernel("", "k"), absent(&[]));
    }

    #[test]
    fn what_only_looks_like_the_kernel_is_none() {
        const OTHER: &str = "extern \"C\" __global__ void other() {}\n";
        for text in [
            "// __global__ void k() {}",
            "/* extern \"C\" __global__\nvoid k() {} */",
            "// a comment that goes on \\\nextern \"C\" __global__ void k() {}",
            "extern \"C\" __device__ void k() {}",
            "__constant__ int k = 1'000;",
            "const int a = 1'0, k = '\\'';",
        ] {
            assert_eq!(kernel(&format!("{OTHER}{text}"), "k"), absent(&["other"]), "{text}");
        }
        assert_eq!(kernel(&format!("{OTHER}const char* s = R\"x(\" ; )x\";"), "k"), absent(&["other"]));
    }

    #[test]
    fn a_kernel_of_cpp_has_a_longer_name() {
        for (text, line) in [
            ("__global__ void k() {}", 1),
            ("extern \"C\" { int n; }\n\n__global__ void k(float* x)\n{ if (x) { x[0] = 1; } }", 3),
            ("namespace a {\n__global__ void k() {}\n}", 2),
            ("extern \"C\" int n;\ntemplate<class T>\n__global__ void k(T* x) {}", 3),
            ("/* one\ntwo */ __global__ void\nk() {}", 3),
        ] {
            assert_eq!(kernel(text, "k"), Kernel::Renamed { line }, "{text}");
        }
        assert_eq!(kernel("__global__ void k() {}", "_Z1kv"), Kernel::Perhaps, "its own name");
        assert_eq!(kernel("__global__ void k() {}", "other"), absent(&[]));
    }

    #[test]
    fn what_macros_may_make_is_left_to_the_compiler() {
        for text in [
            "#define KERNEL extern \"C\" __global__ void\nKERNEL k() {}",
            "#define NAME(x) x ## k\nextern \"C\" __global__ void NAME()() {}",
            "#define NAME k\nextern \"C\" __global__ void NAME() {}",
            "#define C extern \"C\"\nC __global__ void k() {}",
            "#define BEGIN extern \"C\" \\\n{\nBEGIN\n__global__ void k() {}\n}",
            "#define OPEN {\nextern \"C\" OPEN\n__global__ void k() {}\n}",
            "extern \"C\" __attribute__((global)) void k() {}",
            "extern \"C\" __global__ void other() asm(\"k\");",
            "extern \"C\" __global__ void k\\\nk() {}",
            "extern \"C\" <%\n__global__ void k() {}\n}",
            "__global__ void a::k() {}",
            "template<> __global__ void k<int>(int* x) {}",
            "#if A\nextern \"C\" {\n#else\nnamespace a {\n#endif\n__global__ void k() {}\n}",
        ] {
            assert_eq!(kernel(text, "k"), Kernel::Perhaps, "{text}");
        }
    }

    #[test]
    fn whatever_the_text_reading_it_ends() {
        const PIECES: [&str; 24] = [
            "__global__",
            " void ",
            "k",
            "(",
            ")",
            "{",
            "}",
            ";",
            "\"",
            "'",
            "\\",
            "\n",
            "#",
            "define ",
            "/*",
            "*/",
            "//",
            "extern ",
            "\"C\"",
            "R\"",
            "é",
            "__launch_bounds__",
            "1",
            "##",
        ];
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        for _ in 0..3_000 {
            let text: String = (0..rng.usize(..40)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect();
            kernel(&text, "k");
        }
    }

    #[test]
    fn the_line_that_reads_a_file_is_told() {
        assert_eq!(could_include("#define N 1\n\n  #  include <x.h>"), Some(3));
        assert_eq!(could_include("#inc\\\nlude \"x\""), Some(0));
        assert_eq!(could_include("#define N 1\n// an important line"), Some(2), "on the safe side");
        assert_eq!(could_include("// include this"), None, "without any `#`");
    }
}
