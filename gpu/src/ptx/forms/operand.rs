//! Holds one operand against what a form asks for: its type, its register's class, its state space.

use super::{Kindof, Scope, Ty};
use crate::ptx::{
    ir::{Base, Class, Mods, Operand, SINK, Space, Symbol},
    tensor::{self, Role},
    words::{Kind, Mod, Op, Special},
};

/// The largest alignment that memory of the stack is asked for with.
const STACK_ALIGN_MAX: i64 = 1 << 23;

/// Whether a register of `class` can hold a value of type `ty`.
fn fits(class: Class, ty: Mod, wider: bool) -> bool {
    let Some((kind, bits)) = ty.kind() else { return false };
    let float = matches!(class, Class::F32 | Class::F64);
    // Nothing but 128 bits goes into such a register.
    let wider = wider && class != Class::B128;
    match kind {
        Kind::Predicate => class == Class::Pred,
        _ if class == Class::Pred => false,
        Kind::Element => class.bits() == 32,
        Kind::Pair => class.bits() == bits && (bits == 32 || !float),
        Kind::BytePair => class.bits() == bits,
        Kind::Bits | Kind::IntPair => class.bits() == bits || (wider && !float && class.bits() > bits),
        Kind::Unsigned | Kind::Signed => !float && (class.bits() == bits || (wider && class.bits() > bits)),
        Kind::Float | Kind::Bfloat => class.bits() == bits,
    }
}

pub(super) struct Checker<'a> {
    pub op: Op,
    pub mods: &'a Mods,
    pub scope: &'a Scope<'a>,
}

/// The result of a check: what was expected instead.
type Expected = Result<(), String>;

fn holds<E>(ok: bool, expected: impl FnOnce() -> E) -> Result<(), E> {
    if ok { Ok(()) } else { Err(expected()) }
}

impl Checker<'_> {
    fn ty(&self, ty: Ty) -> Mod {
        let first = self.mods.ty(0).unwrap_or(Mod::B32);
        match ty {
            Ty::Nth(n) => self.mods.ty(n).unwrap_or(first),
            Ty::Fixed(m) => m,
            Ty::Wide => match first {
                Mod::U16 => Mod::U32,
                Mod::S16 => Mod::S32,
                Mod::U32 => Mod::U64,
                Mod::S32 => Mod::S64,
                other => other,
            },
        }
    }

    fn register(&self, register: u32, ty: Mod, wider: bool) -> Expected {
        let ok = self.scope.class(register).is_some_and(|class| fits(class, ty, wider));
        holds(ok, || format!("a .{} register", ty.text()))
    }

    fn predicate(&self, register: u32) -> Expected {
        let ok = register == SINK || self.scope.class(register) == Some(Class::Pred);
        holds(ok, || "a .pred register".into())
    }

    /// Whether the instruction may name this special register among its sources, as only few do.
    fn reads_special(&self, special: Special) -> bool {
        let integers = self.mods.as_slice().iter().all(|m| !m.is_float());
        special == Special::WarpSize || self.op == Op::Mov || (self.op == Op::Cvt && integers)
    }

    fn source(&self, operand: &Operand, ty: Mod, wider: bool) -> Expected {
        let (kind, bits) = ty.kind().unwrap_or((Kind::Bits, 32));
        let expected = || format!("a .{} value", ty.text());
        match operand {
            Operand::Register(r) => self.register(*r, ty, wider).map_err(|_| expected()),
            Operand::Int(_) => {
                holds(matches!(kind, Kind::Bits | Kind::Unsigned | Kind::Signed) && bits <= 64, expected)
            }
            // As bits, a number is as wide as it is spelt.
            Operand::F32(_) => holds(kind == Kind::Float && bits >= 32 || ty == Mod::B32, expected),
            Operand::F64(_) => holds(kind == Kind::Float && bits >= 32 || ty == Mod::B64, expected),
            Operand::Special(s, _) if self.reads_special(*s) => {
                let whole = matches!(kind, Kind::Bits | Kind::Unsigned | Kind::Signed);
                // A special register is as wide as it is; only its low bytes may be converted.
                let part = wider && bits < 32 && s.bits() == 32;
                holds(s.reads_as(ty) || (whole && part), expected)
            }
            Operand::Special(..) => Err("a register: `mov` reads a special one".into()),
            _ => Err(expected()),
        }
    }

    pub fn operand(&self, kind: Kindof, operand: &Operand) -> Expected {
        match kind {
            Kindof::Dst { ty, wider, sink } => match operand {
                Operand::Register(r) => self.register(*r, self.ty(ty), wider),
                Operand::Sink if sink => Ok(()),
                _ => Err(format!("a .{} register", self.ty(ty).text())),
            },
            Kindof::Src { ty, wider } => self.source(operand, self.ty(ty), wider),
            Kindof::DstWithPredicate(ty) => match operand {
                Operand::Register(r) => self.register(*r, self.ty(ty), false),
                Operand::Pair(r, p) if *r == SINK => self.predicate(*p),
                Operand::Pair(r, p) => {
                    self.register(*r, self.ty(ty), false).and_then(|()| self.predicate(*p))
                }
                _ => Err("a register, or a register and a predicate".into()),
            },
            Kindof::SetPredicate => match operand {
                Operand::Register(r) => self.predicate(*r),
                _ => Err("a .pred register".into()),
            },
            Kindof::SetPredicates => match operand {
                Operand::Register(r) => self.predicate(*r),
                Operand::Pair(p, q) => self.predicate(*p).and_then(|()| self.predicate(*q)),
                _ => Err("a .pred register or two of them".into()),
            },
            Kindof::Predicate => match operand {
                Operand::Register(r) | Operand::Not(r) => self.predicate(*r),
                Operand::Int(_) => Ok(()),
                Operand::Special(Special::ExplicitCluster, _) if self.op == Op::Mov => Ok(()),
                _ => Err("a .pred register".into()),
            },
            Kindof::MovTo => self.mov_to(operand),
            Kindof::MovFrom => self.mov_from(operand),
            Kindof::Load => self.transfer(operand, true),
            Kindof::Store => self.transfer(operand, false),
            Kindof::Address => self.address(operand, self.named_space()),
            Kindof::AddressIn(space) => self.address(operand, Some(space)),
            Kindof::Matrix(role) => self.matrix(operand, role),
            Kindof::Tiles => {
                let count = match self.mods.one_of(&[Mod::X1, Mod::X2, Mod::X4]) {
                    Some(Mod::X4) => 4,
                    Some(Mod::X2) => 2,
                    _ => 1,
                };
                self.registers(operand, count, Mod::B32)
            }
            Kindof::Nothing => holds(*operand == Operand::Sink, || "`_`".into()),
            Kindof::Label => holds(matches!(operand, Operand::Label(_)), || "a label".into()),
            Kindof::Table => holds(matches!(operand, Operand::Table(_)), || {
                "the label of a `.branchtargets` before it".into()
            }),
            // The bytes of a copy, of a cache line, or a number of groups or a table.
            Kindof::Constant => match self.mods.one_of(&[Mod::Ca, Mod::Cg, Mod::L2, Mod::L2EvictNormal]) {
                Some(Mod::Ca) => holds(matches!(operand, Operand::Int(4 | 8 | 16)), || "4, 8 or 16".into()),
                Some(Mod::Cg) => holds(*operand == Operand::Int(16), || "16".into()),
                Some(_) => holds(*operand == Operand::Int(128), || "128".into()),
                None => holds(matches!(operand, Operand::Int(0..=255)), || "an integer from 0 to 255".into()),
            },
            Kindof::RegisterOrVariable => match operand {
                Operand::Symbol(s, _) => self.same_space(*s, self.named_space()),
                _ => self.source(operand, Mod::U64, false),
            },
            Kindof::VideoSource
            | Kindof::VideoPart
            | Kindof::VideoSources
            | Kindof::VideoMask
            | Kindof::VideoFactor
            | Kindof::VideoTerm => self.video(kind, operand),
            Kindof::Register(ty) => match operand {
                Operand::Register(r) => self.register(*r, self.ty(ty), false),
                _ => Err(format!("a .{} register", self.ty(ty).text())),
            },
            Kindof::Alignment => {
                let ok = matches!(operand, Operand::Int(n @ 1..=STACK_ALIGN_MAX) if n.count_ones() == 1);
                holds(ok, || format!("a power of two, at most {STACK_ALIGN_MAX}"))
            }
            Kindof::Copied => match operand {
                Operand::Not(r) => self.predicate(*r),
                Operand::Register(r) if self.scope.class(*r) == Some(Class::Pred) => Ok(()),
                _ => self.source(operand, Mod::U32, false),
            },
            Kindof::Policy => {
                let global = self.op == Op::Cp || matches!(self.named_space(), None | Some(Space::Global));
                holds(global, || String::from("no cache policy: only global memory has one"))?;
                self.source(operand, Mod::B64, false)
            }
        }
    }

    /// A 32-bit register, or parts of one as far as the instruction's lanes allow.
    fn video(&self, kind: Kindof, operand: &Operand) -> Expected {
        let lanes = self.op.video_lanes().unwrap_or(1);
        let factor = kind == Kindof::VideoFactor;
        let (register, select) = match operand {
            Operand::Register(r) if kind != Kindof::VideoPart => (*r, None),
            Operand::Part(r, select) if kind != Kindof::VideoTerm => (*r, Some(select)),
            Operand::Minus(r, None) if factor || kind == Kindof::VideoTerm => (*r, None),
            Operand::Minus(r, Some(select)) if factor => (*r, Some(select)),
            Operand::Int(_) if factor || matches!(kind, Kindof::VideoSource | Kindof::VideoTerm) => {
                return Ok(());
            }
            _ => return Err("a 32-bit register, or parts of one".into()),
        };
        self.register(register, Mod::U32, false)?;
        let Some(select) = select else { return Ok(()) };
        let digits = select.digits();
        let below = |most: u8| digits.iter().all(|digit| *digit < most);
        let ok = match kind {
            Kindof::VideoSources => digits.len() == usize::from(lanes) && below(2 * lanes),
            Kindof::VideoMask => below(lanes) && digits.windows(2).all(|pair| pair[0] > pair[1]),
            _ => digits.len() == 1 && below(if select.halves { 2 } else { 4 }),
        };
        let fitting = lanes == 1 || select.halves == (lanes == 2);
        holds(ok && fitting, || "parts that the instruction has".into())
    }

    /// What no operand shows alone; with the place of the one to blame.
    pub fn together(&self, operands: &[Operand]) -> Result<(), (usize, String)> {
        match (self.op, operands) {
            (Op::Mov, [to, from]) if !self.mods.has(Mod::V2) && !self.mods.has(Mod::V4) => {
                let vector = |operand: &Operand| matches!(operand, Operand::Vector(..));
                let kept = self.scope.function.parts(to).iter().any(|part| *part != Operand::Sink);
                holds(!(vector(to) && vector(from)), || (1, "one register".into()))?;
                holds(kept, || (0, "at least one register".into()))
            }
            (Op::Vmad, [_, factors @ .., term]) => {
                let minus = |operand: &Operand| matches!(operand, Operand::Minus(..));
                let product = factors.iter().filter(|factor| minus(factor)).count();
                let term = minus(term);
                let one = self.mods.has(Mod::Po);
                holds(!(one && product > 0), || (1, "no negated register beside `.po`".into()))?;
                holds(!(term && (one || product == 1)), || {
                    (3, "no more than one negation, and none beside `.po`".into())
                })
            }
            _ => Ok(()),
        }
    }

    fn mov_to(&self, operand: &Operand) -> Expected {
        let ty = self.ty(Ty::Nth(0));
        match operand {
            Operand::Register(r) => self.register(*r, ty, false),
            Operand::Vector(..) => self.packed(operand, ty, true),
            _ => Err(format!("a .{} register", ty.text())),
        }
    }

    fn mov_from(&self, operand: &Operand) -> Expected {
        let ty = self.ty(Ty::Nth(0));
        match operand {
            Operand::Vector(..) => self.packed(operand, ty, false),
            Operand::Register(r) => self.register(*r, ty, false),
            _ if ty == Mod::B128 => Err("a .b128 register, or a vector".into()),
            Operand::Function(_) => {
                holds(ty.bits() == 64 && !ty.is_float(), || "a .u64 `mov` for an address".into())
            }
            Operand::Symbol(..) => {
                let ok = ty.bits() >= 32 && !ty.is_float();
                holds(ok, || "a .u32 or .u64 `mov` for an address".into())
            }
            Operand::Special(s, _) => holds(s.reads_as(ty), || format!("a .{} value", ty.text())),
            _ => self.source(operand, ty, false),
        }
    }

    /// `mov.b32 %r, {%h0, %h1}` and its kin: the parts together are as wide as the type.
    fn packed(&self, operand: &Operand, ty: Mod, to: bool) -> Expected {
        let parts = self.scope.function.parts(operand);
        let expected = || format!("2 or 4 parts of together {} bits", ty.bits());
        let bits = ty.bits() / (parts.len() as u32).max(1);
        holds(
            matches!(ty, Mod::B16 | Mod::B32 | Mod::B64 | Mod::B128) && matches!(parts.len(), 2 | 4),
            expected,
        )?;
        for part in parts {
            let ok = match part {
                Operand::Register(r) => {
                    self.scope.class(*r).is_some_and(|c| c != Class::Pred && c.bits() == bits)
                }
                Operand::Sink => to,
                Operand::Int(_) => !to,
                _ => false,
            };
            holds(ok && bits >= 8, expected)?;
        }
        Ok(())
    }

    /// What `ld` loads into or `st` stores from.
    fn transfer(&self, operand: &Operand, load: bool) -> Expected {
        let ty = self.ty(Ty::Nth(0));
        let lanes = if self.mods.has(Mod::V2) {
            2
        } else if self.mods.has(Mod::V4) {
            4
        } else if self.mods.has(Mod::V8) {
            8
        } else {
            1
        };
        let parts = self.scope.function.parts(operand);
        let vector = matches!(operand, Operand::Vector(..));
        holds(
            vector == (lanes > 1)
                && parts.len() == lanes
                && lanes as u32 * ty.bits() <= self.vector_bits_max(),
            || match lanes {
                1 => "one register".into(),
                n => format!("a vector of {n}, at most {} bits", self.vector_bits_max()),
            },
        )?;
        for part in parts {
            match part {
                Operand::Sink if load && vector => {}
                Operand::Register(r) => self.register(*r, ty, true)?,
                // An assembler reads a special register only where it makes a vector.
                Operand::Special(s, _) if !load && vector && s.reads_as(ty) => {}
                _ if !load => self.source(part, ty, true)?,
                _ => return Err(format!("a .{} register", ty.text())),
            }
        }
        Ok(())
    }

    /// Loads and stores of 32 and of 64 bits on global memory may have twice as much as others.
    fn vector_bits_max(&self) -> u32 {
        let global =
            matches!(self.named_space(), None | Some(Space::Global)) && !self.mods.has(Mod::Volatile);
        if matches!(self.op, Op::Ld | Op::St) && global && matches!(self.ty(Ty::Nth(0)).bits(), 32 | 64) {
            256
        } else {
            128
        }
    }

    /// A vector of exactly `count` registers.
    fn registers(&self, operand: &Operand, count: usize, ty: Mod) -> Expected {
        let parts = self.scope.function.parts(operand);
        let expected = || format!("a vector of {count} .{} registers", ty.text());
        holds(matches!(operand, Operand::Vector(..)) && parts.len() == count, expected)?;
        parts.iter().try_for_each(|part| match part {
            Operand::Register(r) => self.register(*r, ty, false).map_err(|_| expected()),
            _ => Err(expected()),
        })
    }

    fn matrix(&self, operand: &Operand, role: Role) -> Expected {
        // A load or a store names its matrix by a modifier.
        let moved = self.mods.one_of(&[Mod::Load, Mod::Store]).is_some();
        let role = if moved { tensor::moved(self.mods) } else { role };
        let Some(fragment) = tensor::fragment(self.op, self.mods, role) else {
            return Err("another shape".into());
        };
        self.registers(operand, fragment.registers, fragment.register())
    }

    fn named_space(&self) -> Option<Space> {
        self.mods.as_slice().iter().find_map(|m| match m {
            Mod::Global => Some(Space::Global),
            Mod::Shared | Mod::SharedCta | Mod::SharedCluster => Some(Space::Shared),
            Mod::Local => Some(Space::Local),
            Mod::Const => Some(Space::Const),
            Mod::Param | Mod::ParamEntry | Mod::ParamFunc => Some(Space::Param),
            _ => None,
        })
    }

    fn same_space(&self, symbol: Symbol, named: Option<Space>) -> Expected {
        let Some(space) = named else {
            return Err("a register: a variable's address is not a generic address, see `cvta`".into());
        };
        holds(self.scope.space(symbol) == Some(space), || format!("a variable in .{}", space.text()))
    }

    fn address(&self, operand: &Operand, space: Option<Space>) -> Expected {
        let Operand::Address(base, _) = operand else { return Err("an address in `[]`".into()) };
        match base {
            Base::Absolute => holds(space == Some(Space::Local), || {
                "a register or a variable: only .local has numbers for addresses".into()
            }),
            Base::Symbol(s) => self.same_space(*s, space),
            Base::Register(r) => {
                let class = self.scope.class(*r);
                // Shared, local and parameter addresses fit 32 bits and may be held in such registers.
                let narrow = !matches!(space, None | Some(Space::Global));
                let ok = class == Some(Class::B64) || (narrow && class == Some(Class::B32));
                holds(ok, || "a 64-bit address register".into())
            }
        }
    }
}
