//! Text to a checked [`Module`], statement by statement.
//!
//! Owns: the grammar of the module level (this file), of variables and parameters (`data.rs`) and of bodies
//! (`body.rs`), and of numbers (`constant.rs`); the order of functions and of their calls (`order.rs`). Every instruction is held against the covered forms as it is read.
//! Never: panics, recurses, or stores tokens; memory is bounded by `limits::MEMORY_PER_TEXT_BYTE_MAX`.
//! Limits: `limits.rs`.
//! Tests: `ptx/tests.rs`, and hostile texts in `gpu/tests/ptx_hostile.rs`.

mod body;
mod constant;
mod data;
mod order;

use super::{
    calls::Calls,
    error::{At, Refusal},
    ir::{Class, Function, Line, Module, Param, Space},
    lex::{Lexer, Tok, Token},
    limits, print,
    words::{Kind, Mod},
};
use std::collections::HashMap;

/// What a name of the module level stands for.
#[derive(Debug, Clone, Copy)]
enum Global {
    Variable(u32),
    Function(u32),
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    tok: Token<'a>,
    module: Module,
    names: HashMap<&'a str, Global>,
    /// Names of the parameters and results of the function being read, with their places.
    param_names: Vec<FormalName<'a>>,
    return_names: Vec<FormalName<'a>>,
    /// Where several results of a function are in the one that hands them over.
    results: HashMap<u32, Vec<Param>>,
    /// For each function: where it was declared, and whether a body was seen.
    declared: Vec<(At, bool)>,
    instructions: u64,
    operands: u64,
    labels: u64,
    variables: u64,
    /// Where the next variable of each space would begin.
    global_bytes: u64,
    const_bytes: u64,
    padding: u64,
}

type Parsed<T> = Result<T, Refusal>;

/// The name of a formal parameter, where it stands, and its class if it is a register of the body.
type FormalName<'a> = (&'a str, At, Option<Class>);

/// Reads and checks a module. The first thing that is not covered ends the reading with where and why.
pub fn parse(text: &str) -> Result<Module, Refusal> {
    let start = At { line: 1, column: 1, length: 1 };
    if text.len() as u64 > limits::MODULE_BYTES_MAX {
        return Err(Refusal::limit(start, "bytes in a module", limits::MODULE_BYTES_MAX));
    }
    let module = Module {
        version: (0, 0),
        target: 0,
        variables: Vec::new(),
        functions: Vec::new(),
        calls: Calls::default(),
    };
    let tok = Token { tok: Tok::End, at: start, text: "" };
    let mut parser = Parser {
        lexer: Lexer::new(text),
        tok,
        module,
        names: HashMap::new(),
        param_names: Vec::new(),
        return_names: Vec::new(),
        results: HashMap::new(),
        declared: Vec::new(),
        instructions: 0,
        operands: 0,
        labels: 0,
        variables: 0,
        global_bytes: 0,
        const_bytes: 0,
        padding: 0,
    };
    parser.bump()?;
    parser.module()?;
    let module = parser.module;
    // Names, decimal numbers and blanks may be longer in the canonical text, which must be readable in its turn.
    if text.len() as u64 > limits::MODULE_BYTES_MAX / limits::PRINT_PER_TEXT_BYTE_MAX
        && print::canonical_text(&module).len() as u64 > limits::MODULE_BYTES_MAX
    {
        return Err(Refusal::limit(start, "bytes in a module's canonical text", limits::MODULE_BYTES_MAX));
    }
    Ok(module)
}

impl<'a> Parser<'a> {
    /// Steps to the next token and returns the one passed.
    fn bump(&mut self) -> Parsed<Token<'a>> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.tok, next))
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        Err(Refusal::unexpected(self.tok.at, &format!("`{}`", self.tok.text), expected))
    }

    fn is(&self, punct: u8) -> bool {
        self.tok.tok == Tok::Punct(punct)
    }

    fn eat(&mut self, punct: u8) -> Parsed<bool> {
        let there = self.is(punct);
        if there {
            self.bump()?;
        }
        Ok(there)
    }

    fn expect(&mut self, punct: u8) -> Parsed<()> {
        if self.eat(punct)? { Ok(()) } else { self.unexpected(&format!("`{}`", punct as char)) }
    }

    fn expect_dot(&mut self, word: &str) -> Parsed<()> {
        if self.tok.tok != Tok::Dot(word) {
            return self.unexpected(&format!("`.{word}`"));
        }
        self.bump()?;
        Ok(())
    }

    fn word(&mut self, expected: &str) -> Parsed<(&'a str, At)> {
        match self.tok.tok {
            Tok::Word(word) if word != "_" => Ok((word, self.bump()?.at)),
            _ => self.unexpected(expected),
        }
    }

    /// An unsigned integer of at most `max`.
    fn int(&mut self, max: u64, what: &'static str) -> Parsed<u64> {
        match self.tok.tok {
            Tok::Int(value) if value <= max => {
                self.bump()?;
                Ok(value)
            }
            Tok::Int(_) => Err(Refusal::limit(self.tok.at, what, max)),
            _ => self.unexpected("an integer"),
        }
    }

    fn module(&mut self) -> Parsed<()> {
        self.header()?;
        loop {
            match self.tok.tok {
                Tok::End => break,
                Tok::Dot(_) => self.statement()?,
                _ => return self.unexpected("a directive such as `.visible .entry` or `.global`"),
            }
        }
        if let Some(n) = self.declared.iter().position(|(_, defined)| !defined) {
            let at = self.declared[n].0;
            let name = &self.module.functions[n].name;
            return Err(Refusal::unsupported(
                at,
                name,
                "it is declared but has no body; put it into the module",
            ));
        }
        order::functions_first(&mut self.module);
        self.module.calls = Calls::of(&self.module);
        order::refuse_recursion(&self.module)
    }

    fn header(&mut self) -> Parsed<()> {
        self.expect_dot("version")?;
        let at = self.tok.at;
        let text = self.tok.text;
        // `7.8` reads as a floating-point number; its digits are taken as written.
        let version = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some(version) = version else { return self.unexpected("a version such as `7.8`") };
        if version < limits::VERSION_MIN || version > limits::VERSION_MAX {
            return Err(Refusal::unexpected(at, &format!("version {text}"), "a PTX version from 6.0 to 9.0"));
        }
        self.bump()?;
        self.module.version = version;
        self.expect_dot("target")?;
        let (name, at) = self.word("a target such as `sm_75`")?;
        let number = name.strip_prefix("sm_").and_then(|n| n.parse().ok()).filter(|n| (30..=130).contains(n));
        let Some(number) = number else {
            let expected = "a target from `sm_30` to `sm_130` without a suffix, as every device can run it";
            return Err(Refusal::unexpected(at, &format!("`{name}`"), expected));
        };
        self.module.target = number;
        while self.eat(b',')? {
            let (option, at) = self.word("a target option")?;
            if option != "debug" {
                return Err(Refusal::unsupported(at, option, "no target options are needed; leave it out"));
            }
        }
        self.expect_dot("address_size")?;
        if self.tok.tok != Tok::Int(64) {
            return self.unexpected("64, the only address size of today's devices");
        }
        self.bump()?;
        Ok(())
    }

    fn statement(&mut self) -> Parsed<()> {
        let mut external = false;
        loop {
            let Tok::Dot(word) = self.tok.tok else { return self.unexpected("a directive") };
            match word {
                "visible" | "weak" | "common" => {
                    self.bump()?;
                }
                "extern" => {
                    external = true;
                    self.bump()?;
                }
                "entry" | "func" => return self.function(word == "entry", external),
                "global" | "const" | "shared" => {
                    let space = match word {
                        "global" => Space::Global,
                        "const" => Space::Const,
                        _ => Space::Shared,
                    };
                    let at = self.bump()?.at;
                    if external && space != Space::Shared {
                        return Err(Refusal::unsupported(
                            at,
                            ".extern",
                            "a module brings all its variables along",
                        ));
                    }
                    return self.module_variables(space, external);
                }
                "file" => return self.skip_line(),
                "section" => return self.skip_section(),
                "pragma" => return self.skip_pragma(),
                _ => {
                    let why =
                        "only .entry, .func, .global, .const and .shared are covered at the module level";
                    return Err(Refusal::unsupported(self.tok.at, self.tok.text, why));
                }
            }
        }
    }

    /// Passes a directive that ends with its line.
    fn skip_line(&mut self) -> Parsed<()> {
        self.lexer.skip_line();
        self.bump()?;
        Ok(())
    }

    /// Debug sections say nothing about what a kernel does.
    fn skip_section(&mut self) -> Parsed<()> {
        while !self.is(b'{') {
            if matches!(self.tok.tok, Tok::End | Tok::Punct(b';')) {
                return self.unexpected("`{` after the section's name");
            }
            self.bump()?;
        }
        while !self.is(b'}') {
            if matches!(self.tok.tok, Tok::End) {
                return self.unexpected("`}` at the end of the section");
            }
            self.bump()?;
        }
        self.bump()?;
        Ok(())
    }

    fn skip_pragma(&mut self) -> Parsed<()> {
        self.bump()?;
        if self.tok.tok != Tok::Str {
            return self.unexpected("a string");
        }
        self.bump()?;
        self.expect(b';')
    }

    fn function(&mut self, kernel: bool, external: bool) -> Parsed<()> {
        let keyword = self.bump()?.at;
        self.param_names.clear();
        let returns = if !kernel && self.is(b'(') { self.params(kernel)? } else { Vec::new() };
        self.return_names = std::mem::take(&mut self.param_names);
        // Several results are registers, and one parameter hands them all over: no assembler takes more.
        let layout = returns;
        let several = layout.len() > 1 && self.return_names.iter().all(|(_, _, class)| class.is_some());
        let returns = if several { vec![joined(&layout)] } else { layout.clone() };
        let (name, at) = self.word("a name")?;
        let params = if self.is(b'(') { self.params(kernel)? } else { Vec::new() };
        if name.starts_with('%') || (name.starts_with('$') && kernel) {
            return Err(Refusal::unexpected(
                at,
                &format!("`{name}`"),
                "a kernel name that begins with a letter or `_`",
            ));
        }
        if external {
            check_external(name, at, &returns, &params)?;
        }
        let mut function = Function {
            name: name.to_string(),
            kernel,
            external,
            params,
            returns,
            maxntid: None,
            reqntid: None,
            tables: Vec::new(),
            prototypes: Vec::new(),
            registers: Vec::new(),
            variables: Vec::new(),
            labels: Vec::new(),
            instructions: Vec::new(),
            operands: Vec::new(),
            line: Line(keyword.line),
        };
        self.performance_directives(&mut function)?;
        let index = self.declare_function(name, at, &function)?;
        if several {
            self.results.insert(index as u32, layout);
        }
        if !kernel && !external {
            // Only kernels are named from outside; what a function is called makes no difference.
            function.name = format!("$f{index}");
            self.module.functions[index].name.clone_from(&function.name);
        }
        if self.eat(b';')? {
            if kernel {
                return Err(Refusal::unsupported(at, name, "a kernel needs a body"));
            }
            return Ok(());
        }
        if external || self.declared[index].1 {
            return Err(Refusal::twice(at, name));
        }
        self.expect(b'{')?;
        self.body(&mut function, index as u32)?;
        self.module.functions[index] = function;
        self.declared[index].1 = true;
        Ok(())
    }

    /// Enters the name, or finds the declaration made before and holds its parameters against these.
    fn declare_function(&mut self, name: &'a str, at: At, function: &Function) -> Parsed<usize> {
        match self.names.get(name) {
            Some(Global::Function(n)) if !function.kernel => {
                let earlier = &self.module.functions[*n as usize];
                if earlier.params != function.params || earlier.returns != function.returns {
                    return Err(Refusal::unexpected(
                        at,
                        &format!("`{name}`"),
                        "the parameters declared before",
                    ));
                }
                Ok(*n as usize)
            }
            Some(_) => Err(Refusal::twice(at, name)),
            None => {
                let index = self.module.functions.len();
                if index as u64 >= limits::FUNCTIONS_MAX {
                    return Err(Refusal::limit(at, "functions in a module", limits::FUNCTIONS_MAX));
                }
                self.names.insert(name, Global::Function(index as u32));
                self.module.functions.push(function.clone());
                self.declared.push((at, function.external));
                Ok(index)
            }
        }
    }

    fn performance_directives(&mut self, function: &mut Function) -> Parsed<()> {
        while let Tok::Dot(word) = self.tok.tok {
            match word {
                "maxntid" | "reqntid" => {
                    self.bump()?;
                    let mut extents = [1u32; 3];
                    for (n, extent) in extents.iter_mut().enumerate() {
                        if n > 0 && !self.eat(b',')? {
                            break;
                        }
                        *extent = self.int(u64::from(u32::MAX), "threads")? as u32;
                    }
                    let place = if word == "maxntid" { &mut function.maxntid } else { &mut function.reqntid };
                    *place = Some(extents);
                }
                // How many registers or blocks a device should plan for is the driver's business.
                "minnctapersm" | "maxnctapersm" | "maxnreg" => {
                    self.bump()?;
                    self.int(u64::from(u32::MAX), "registers or blocks")?;
                }
                "noreturn" => {
                    self.bump()?;
                }
                "pragma" => self.skip_pragma()?,
                _ => {
                    return Err(Refusal::unsupported(
                        self.tok.at,
                        self.tok.text,
                        "leave it out of the kernel's head",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// One array that has room for all of these.
fn joined(parts: &[Param]) -> Param {
    let align = parts.iter().map(|p| p.align).max().unwrap_or(1);
    let bytes = parts.last().map_or(0, |p| p.offset + p.bytes());
    Param { element: Mod::B8, align, count: Some(bytes), pointer: None, offset: 0 }
}

/// The functions that every device brings along, with the bits of what they return and take.
const EXTERNALS: [(&str, &[u32], &[u32]); 2] =
    [("__assertfail", &[], &[64, 64, 32, 64, 64]), ("vprintf", &[32], &[64, 64])];

fn check_external(name: &str, at: At, returns: &[Param], params: &[Param]) -> Parsed<()> {
    let Some((_, returned, taken)) = EXTERNALS.iter().find(|(known, ..)| *known == name) else {
        let why = match name {
            "malloc" | "free" => "memory is not allocated in kernels; pass a buffer",
            _ if name.starts_with("cuda") => {
                "a kernel starts no other kernels; make it a launch of the program"
            }
            _ => "only __assertfail and vprintf are external; link all code into the module",
        };
        return Err(Refusal::unsupported(at, name, why));
    };
    let fits = |found: &[Param], known: &[u32]| found.iter().map(|p| p.bytes() * 8).eq(known.iter().copied());
    if fits(returns, returned) && fits(params, taken) {
        return Ok(());
    }
    Err(Refusal::unexpected(
        at,
        &format!("`{name}` of another kind"),
        "the parameters it has on every device",
    ))
}

/// A type that variables and parameters may have.
fn data_type(word: &str) -> Option<Mod> {
    let declared = |m: &Mod| {
        !matches!(
            m.kind(),
            None | Some((Kind::Predicate | Kind::IntPair | Kind::BytePair | Kind::Element, _))
        )
    };
    Mod::named(word).filter(declared)
}
