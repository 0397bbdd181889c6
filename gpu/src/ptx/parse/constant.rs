//! Constant expressions: where a number may stand, one made of numbers by the operators of C may stand.
//!
//! Owns: their grammar and their value, in 64 bits as PTX has it: signed, unsigned where one side is, or f64. Where the
//! manual leaves a value open it is the one that NVIDIA's assembler computes. A number written as the bits of an f32
//! stands alone.
//! Never: recurses: what waits is kept in two stacks, of [`PENDING_MAX`] at most.
//! Tests: `gpu/tests/cpu_forms.rs`.

use super::{Parsed, Parser};
use crate::ptx::{error::Refusal, ir::Operand, lex::Tok, words::WARP_THREADS};

/// Operators and open brackets that wait for what follows; compilers write numbers, people two or three operators.
const PENDING_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

/// What waits for its right side, from the weakest binding to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waiting {
    Open,
    /// A condition whose first choice is open, and one whose second is.
    Question,
    Choice,
    LogicalOr,
    LogicalAnd,
    Or,
    Xor,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    ShiftLeft,
    ShiftRight,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Minus,
    Plus,
    LogicalNot,
    Not,
    ToSigned,
    ToUnsigned,
}

impl Waiting {
    fn binds(self) -> u32 {
        match self {
            Waiting::Open | Waiting::Question => 0,
            Waiting::Choice => 1,
            Waiting::LogicalOr => 2,
            Waiting::LogicalAnd => 3,
            Waiting::Or => 4,
            Waiting::Xor => 5,
            Waiting::And => 6,
            Waiting::Equal | Waiting::NotEqual => 7,
            Waiting::Less | Waiting::LessEqual | Waiting::Greater | Waiting::GreaterEqual => 8,
            Waiting::ShiftLeft | Waiting::ShiftRight => 9,
            Waiting::Add | Waiting::Sub => 10,
            Waiting::Mul | Waiting::Div | Waiting::Rem => 11,
            Waiting::Minus
            | Waiting::Plus
            | Waiting::LogicalNot
            | Waiting::Not
            | Waiting::ToSigned
            | Waiting::ToUnsigned => 12,
        }
    }
}

/// Numbers that are complete and operators that are not.
#[derive(Default)]
struct Stacks {
    values: Vec<Value>,
    waiting: Vec<Waiting>,
}

impl<'a> Parser<'a> {
    /// Whether the token begins a number or an expression.
    pub(super) fn is_constant(&self) -> bool {
        match self.tok.tok {
            Tok::Int(_) | Tok::F32(_) | Tok::F64(_) => true,
            Tok::Punct(p) => matches!(p, b'-' | b'+' | b'~' | b'!' | b'('),
            // Alone it is a special register.
            Tok::Word("WARP_SZ") => self.lexer.clone().next().is_ok_and(|t| match t.tok {
                Tok::Punct(p) => !matches!(p, b',' | b';' | b')' | b'}' | b']'),
                _ => t.tok == Tok::Word("%"),
            }),
            Tok::Word(_) | Tok::Dot(_) | Tok::Str | Tok::End => false,
        }
    }

    /// A number or an expression, as an operand.
    pub(super) fn constant(&mut self) -> Parsed<Operand> {
        // The bits of an f32 are no number to compute with.
        let open = self.is(b'(');
        let negative = self.is(b'-') || open;
        if let Some(bits) = self.single(negative)? {
            return Ok(Operand::F32(bits));
        }
        Ok(match self.expression()? {
            Value::Signed(v) => Operand::Int(v),
            Value::Unsigned(v) => Operand::Int(v as i64),
            Value::Float(v) => Operand::F64(v.to_bits()),
        })
    }

    /// `0f3F800000`, `-0f3F800000` or `(0f3F800000)`.
    fn single(&mut self, prefixed: bool) -> Parsed<Option<u32>> {
        let mut ahead = self.lexer.clone();
        let next = if prefixed { ahead.next()?.tok } else { self.tok.tok };
        let Tok::F32(bits) = next else { return Ok(None) };
        let (open, negative) = (self.is(b'('), self.is(b'-'));
        self.bump()?;
        if prefixed {
            self.bump()?;
        }
        if open {
            self.expect(b')')?;
        }
        Ok(Some(if negative { bits ^ 1 << 31 } else { bits }))
    }

    /// An integer, as 64 bits.
    pub(super) fn integer(&mut self) -> Parsed<i64> {
        let at = self.tok.at;
        match self.expression()? {
            Value::Signed(v) => Ok(v),
            Value::Unsigned(v) => Ok(v as i64),
            Value::Float(_) => Err(Refusal::unexpected(at, "a floating-point number", "an integer")),
        }
    }

    fn expression(&mut self) -> Parsed<Value> {
        let mut stacks = Stacks::default();
        loop {
            self.operand_of(&mut stacks)?;
            while stacks.waiting.contains(&Waiting::Open) && self.is(b')') {
                self.close(&mut stacks)?;
            }
            let Some(operator) = self.operator(&stacks)? else { break };
            self.await_right_side(operator, &mut stacks)?;
        }
        if stacks.waiting.contains(&Waiting::Open) {
            return self.unexpected("`)`");
        }
        self.reduce(1, &mut stacks)?;
        match stacks.values[..] {
            [value] if stacks.waiting.is_empty() => Ok(value),
            _ => self.unexpected("the rest of a constant expression"),
        }
    }

    /// Prefix operators and a number.
    fn operand_of(&mut self, stacks: &mut Stacks) -> Parsed<()> {
        loop {
            if stacks.waiting.len() >= PENDING_MAX {
                let what = "open operators in a constant expression";
                return Err(Refusal::limit(self.tok.at, what, PENDING_MAX as u64));
            }
            let value = match self.tok.tok {
                Tok::Int(v) if v > i64::MAX as u64 || self.tok.text.ends_with('U') => Value::Unsigned(v),
                Tok::Int(v) => Value::Signed(v as i64),
                Tok::F64(v) => Value::Float(f64::from_bits(v)),
                Tok::Word("WARP_SZ") => Value::Signed(WARP_THREADS),
                Tok::Punct(p) => {
                    let waits = match p {
                        b'-' => Waiting::Minus,
                        b'+' => Waiting::Plus,
                        b'!' => Waiting::LogicalNot,
                        b'~' => Waiting::Not,
                        b'(' => Waiting::Open,
                        _ => return self.unexpected("a number"),
                    };
                    self.bump()?;
                    stacks.waiting.push(waits);
                    if waits == Waiting::Open
                        && let Tok::Dot(ty @ ("s64" | "u64")) = self.tok.tok
                    {
                        self.bump()?;
                        self.expect(b')')?;
                        stacks.waiting.pop();
                        stacks.waiting.push(if ty == "s64" {
                            Waiting::ToSigned
                        } else {
                            Waiting::ToUnsigned
                        });
                    }
                    continue;
                }
                _ => return self.unexpected("a number"),
            };
            self.bump()?;
            stacks.values.push(value);
            return Ok(());
        }
    }

    fn close(&mut self, stacks: &mut Stacks) -> Parsed<()> {
        self.reduce(1, stacks)?;
        if stacks.waiting.pop() != Some(Waiting::Open) {
            return self.unexpected("`:`");
        }
        self.bump()?;
        Ok(())
    }

    /// The operator between two numbers that stands here, passed; `None` ends the expression.
    fn operator(&mut self, stacks: &Stacks) -> Parsed<Option<Waiting>> {
        let first = match self.tok.tok {
            Tok::Punct(p) => p,
            // A register's name could begin so.
            Tok::Word("%") => b'%',
            _ => return Ok(None),
        };
        // Two of a kind are one operator; a pair of registers is none.
        let second = self.lexer.clone().next().map_or(0, |t| match t.tok {
            Tok::Punct(p) => p,
            _ => 0,
        });
        let (operator, tokens) = match (first, second) {
            (b'?', _) => (Waiting::Question, 1),
            (b':', _) if stacks.waiting.contains(&Waiting::Question) => (Waiting::Choice, 1),
            (b'|', b'|') => (Waiting::LogicalOr, 2),
            (b'&', b'&') => (Waiting::LogicalAnd, 2),
            (b'=', b'=') => (Waiting::Equal, 2),
            (b'!', b'=') => (Waiting::NotEqual, 2),
            (b'<', b'<') => (Waiting::ShiftLeft, 2),
            (b'>', b'>') => (Waiting::ShiftRight, 2),
            (b'<', b'=') => (Waiting::LessEqual, 2),
            (b'>', b'=') => (Waiting::GreaterEqual, 2),
            (b'<', _) => (Waiting::Less, 1),
            (b'>', _) => (Waiting::Greater, 1),
            (b'|', _) => (Waiting::Or, 1),
            (b'^', _) => (Waiting::Xor, 1),
            (b'&', _) => (Waiting::And, 1),
            (b'+', _) => (Waiting::Add, 1),
            (b'-', _) => (Waiting::Sub, 1),
            (b'*', _) => (Waiting::Mul, 1),
            (b'/', _) => (Waiting::Div, 1),
            (b'%', _) => (Waiting::Rem, 1),
            _ => return Ok(None),
        };
        for _ in 0..tokens {
            self.bump()?;
        }
        Ok(Some(operator))
    }

    /// Computes what binds at least as strongly, and lets the operator wait.
    fn await_right_side(&mut self, operator: Waiting, stacks: &mut Stacks) -> Parsed<()> {
        match operator {
            // A condition is whatever binds more strongly than it; conditions group to the right.
            Waiting::Question => self.reduce(2, stacks)?,
            Waiting::Choice => {
                self.reduce(1, stacks)?;
                if stacks.waiting.pop() != Some(Waiting::Question) {
                    return self.unexpected("`?` before `:`");
                }
            }
            _ => self.reduce(operator.binds(), stacks)?,
        }
        stacks.waiting.push(operator);
        Ok(())
    }

    fn reduce(&mut self, least: u32, stacks: &mut Stacks) -> Parsed<()> {
        while let Some(last) = stacks.waiting.last().copied().filter(|w| w.binds() >= least) {
            stacks.waiting.pop();
            let right = stacks.values.pop();
            let computed = match (last, right) {
                (Waiting::Choice, Some(otherwise)) => {
                    let (then, condition) = (stacks.values.pop(), stacks.values.pop());
                    then.zip(condition).and_then(|(then, condition)| choose(condition, then, otherwise))
                }
                (unary, Some(x)) if unary.binds() == 12 => prefix(unary, x),
                (binary, Some(y)) => stacks.values.pop().and_then(|x| infix(binary, x, y)),
                (_, None) => None,
            };
            let Some(value) = computed else {
                return self.unexpected("operands of one type, and no division by zero, before it");
            };
            stacks.values.push(value);
        }
        Ok(())
    }
}

fn bits(v: Value) -> Option<u64> {
    match v {
        Value::Signed(v) => Some(v as u64),
        Value::Unsigned(v) => Some(v),
        Value::Float(_) => None,
    }
}

fn truth(v: bool) -> Value {
    Value::Signed(v.into())
}

fn prefix(operator: Waiting, x: Value) -> Option<Value> {
    Some(match (operator, x) {
        (Waiting::Minus, Value::Signed(v)) => Value::Signed(v.wrapping_neg()),
        (Waiting::Minus, Value::Unsigned(v)) => Value::Unsigned(v.wrapping_neg()),
        (Waiting::Minus, Value::Float(v)) => Value::Float(-v),
        (Waiting::Plus, v) => v,
        (Waiting::LogicalNot, v) => truth(bits(v)? == 0),
        (Waiting::Not, v) => Value::Unsigned(!bits(v)?),
        (Waiting::ToSigned, v) => Value::Signed(bits(v)? as i64),
        (_, v) => Value::Unsigned(bits(v)?),
    })
}

/// The condition's choice: both have to be integers, or both floating-point numbers.
fn choose(condition: Value, then: Value, otherwise: Value) -> Option<Value> {
    let chosen = if bits(condition)? != 0 { then } else { otherwise };
    (bits(then).is_some() == bits(otherwise).is_some()).then_some(chosen)
}

fn infix(operator: Waiting, x: Value, y: Value) -> Option<Value> {
    match (x, y) {
        (Value::Float(x), Value::Float(y)) => of_floats(operator, x, y),
        _ => of_integers(operator, x, y),
    }
}

fn of_floats(operator: Waiting, x: f64, y: f64) -> Option<Value> {
    Some(match operator {
        Waiting::Add => Value::Float(x + y),
        Waiting::Sub => Value::Float(x - y),
        Waiting::Mul => Value::Float(x * y),
        Waiting::Div => Value::Float(x / y),
        Waiting::Equal => truth(x == y),
        Waiting::NotEqual => truth(x != y),
        Waiting::Less => truth(x < y),
        Waiting::LessEqual => truth(x <= y),
        Waiting::Greater => truth(x > y),
        Waiting::GreaterEqual => truth(x >= y),
        _ => return None,
    })
}

fn of_integers(operator: Waiting, x: Value, y: Value) -> Option<Value> {
    let (a, b) = (bits(x)?, bits(y)?);
    let signed = matches!((x, y), (Value::Signed(_), Value::Signed(_)));
    let typed = |v: u64| if signed { Value::Signed(v as i64) } else { Value::Unsigned(v) };
    let order = if signed { (a as i64).cmp(&(b as i64)) } else { a.cmp(&b) };
    let left = matches!(x, Value::Signed(_));
    Some(match operator {
        Waiting::LogicalOr => truth(a != 0 || b != 0),
        Waiting::LogicalAnd => truth(a != 0 && b != 0),
        Waiting::Or => typed(a | b),
        Waiting::Xor => typed(a ^ b),
        Waiting::And => typed(a & b),
        Waiting::Equal => truth(a == b),
        Waiting::NotEqual => truth(a != b),
        Waiting::Less => truth(order.is_lt()),
        Waiting::LessEqual => truth(order.is_le()),
        Waiting::Greater => truth(order.is_gt()),
        Waiting::GreaterEqual => truth(order.is_ge()),
        // Of amounts only the lower six bits count; the type is that of what is shifted.
        Waiting::ShiftLeft if left => Value::Signed((a << (b & 63)) as i64),
        Waiting::ShiftLeft => Value::Unsigned(a << (b & 63)),
        Waiting::ShiftRight if left => Value::Signed(a as i64 >> (b & 63)),
        Waiting::ShiftRight => Value::Unsigned(a >> (b & 63)),
        Waiting::Add => typed(a.wrapping_add(b)),
        Waiting::Sub => typed(a.wrapping_sub(b)),
        Waiting::Mul => typed(a.wrapping_mul(b)),
        Waiting::Div if signed => Value::Signed((b != 0).then(|| (a as i64).wrapping_div(b as i64))?),
        Waiting::Div => Value::Unsigned(a.checked_div(b)?),
        // As assemblers have it: of unsigned numbers, whatever the sides are.
        Waiting::Rem => Value::Unsigned(a.checked_rem(b)?),
        _ => return None,
    })
}
