//! Variables, their first values, and parameter lists.

use super::{FormalName, Global, Parsed, Parser, data_type};
use crate::ptx::{
    error::{At, Refusal},
    ir::{Class, Operand, Param, Pointed, Pointer, Space, Variable},
    lex::Tok,
    limits,
    words::Mod,
};

/// Dimensions that an array may have.
const DIMENSIONS_MAX: usize = 8;

impl<'a> Parser<'a> {
    pub(super) fn module_variables(&mut self, space: Space, external: bool) -> Parsed<()> {
        let shape = self.variable_head(space)?;
        loop {
            let (name, at) = self.word("a variable's name")?;
            if name.starts_with('%') {
                return Err(Refusal::unexpected(at, &format!("`{name}`"), "a name without `%`"));
            }
            let index = self.module_variable(space, shape, external, at)?;
            if self.names.insert(name, Global::Variable(index)).is_some() {
                return Err(Refusal::twice(at, name));
            }
            if !self.eat(b',')? {
                return self.expect(b';');
            }
        }
    }

    /// What follows a variable's name; gives its number.
    pub(super) fn module_variable(
        &mut self,
        space: Space,
        shape: (Option<u32>, Mod, u64),
        external: bool,
        at: At,
    ) -> Parsed<u32> {
        let variable = self.variable_tail(space, shape, external)?;
        let (what, max) = match space {
            Space::Global => ("bytes of global variables", limits::GLOBAL_BYTES_MAX),
            Space::Const => ("bytes of constant variables", limits::CONST_BYTES_MAX),
            Space::Shared | Space::Local | Space::Param => {
                ("bytes of static shared memory", limits::SHARED_BYTES_MAX)
            }
        };
        // Shared variables of the module count when a kernel uses them; alone each must fit.
        let end = match space {
            Space::Global => &mut self.global_bytes,
            Space::Const => &mut self.const_bytes,
            Space::Shared | Space::Local | Space::Param => &mut 0,
        };
        *end = limits::aligned(*end, variable.align).saturating_add(variable.bytes());
        let total = *end;
        self.module.variables.push(variable);
        if total > max {
            return Err(Refusal::limit(at, what, max));
        }
        Ok(self.module.variables.len() as u32 - 1)
    }

    /// `.align 8 .v4 .f32`: alignment, element and elements a name stands for.
    pub(super) fn variable_head(&mut self, space: Space) -> Parsed<(Option<u32>, Mod, u64)> {
        let mut align = None;
        let mut lanes = 1;
        loop {
            let Tok::Dot(word) = self.tok.tok else { return self.unexpected("a type such as `.b8`") };
            let at = self.tok.at;
            match word {
                "align" => {
                    self.bump()?;
                    align = Some(self.alignment()?);
                }
                "v2" | "v4" => {
                    self.bump()?;
                    lanes = if word == "v2" { 2 } else { 4 };
                }
                _ => {
                    let Some(element) = data_type(word) else {
                        let place = space.text();
                        return Err(Refusal::unexpected(
                            at,
                            &format!("`.{word}`"),
                            &format!("a type in .{place}"),
                        ));
                    };
                    if lanes > 1 && element == Mod::B128 {
                        return self.unexpected("a type of at most 64 bits for a vector");
                    }
                    self.bump()?;
                    return Ok((align, element, lanes));
                }
            }
        }
    }

    pub(super) fn alignment(&mut self) -> Parsed<u32> {
        let at = self.tok.at;
        let align = self.int(limits::ALIGN_MAX, "bytes of alignment")?;
        if !align.is_power_of_two() {
            return Err(Refusal::unexpected(at, &format!("alignment {align}"), "a power of two"));
        }
        Ok(align as u32)
    }

    /// `[4][8] = {...}` after a variable's name.
    pub(super) fn variable_tail(
        &mut self,
        space: Space,
        (align, element, lanes): (Option<u32>, Mod, u64),
        external: bool,
    ) -> Parsed<Variable> {
        let at = self.tok.at;
        self.variables += 1;
        if self.variables > limits::VARIABLES_MAX {
            return Err(Refusal::limit(at, "variables in a module", limits::VARIABLES_MAX));
        }
        let mut dims = Vec::new();
        let mut open_ended = false;
        while self.eat(b'[')? {
            if dims.len() + 1 > DIMENSIONS_MAX {
                return Err(Refusal::limit(at, "dimensions of an array", DIMENSIONS_MAX as u64));
            }
            if dims.is_empty() && !open_ended && self.is(b']') {
                open_ended = true;
                dims.push(0);
            } else {
                dims.push(self.int(limits::GLOBAL_BYTES_MAX, "elements in an array")?);
            }
            self.expect(b']')?;
        }
        if lanes > 1 {
            dims.push(lanes);
        }
        let size = u64::from(element.bits() / 8);
        let inner = dims.iter().skip(usize::from(open_ended)).try_fold(1u64, |n, d| n.checked_mul(*d));
        let inner = inner.filter(|n| *n <= limits::GLOBAL_BYTES_MAX);
        let Some(inner) = inner else {
            return Err(Refusal::limit(at, "elements in an array", limits::GLOBAL_BYTES_MAX));
        };
        let (mut init, mut pointers) = (Vec::new(), Vec::new());
        let mut count = if open_ended { 0 } else { inner };
        if self.eat(b'=')? {
            if !matches!(space, Space::Global | Space::Const) {
                return Err(Refusal::unsupported(
                    at,
                    "=",
                    "only .global and .const variables have first values",
                ));
            }
            let room = if open_ended { limits::GLOBAL_BYTES_MAX } else { inner * size };
            init = self.initializer(element, &dims, open_ended, room, &mut pointers)?;
            if open_ended {
                let row = (inner * size).max(1);
                count = (init.len() as u64).div_ceil(row) * inner;
            }
            while init.last() == Some(&0) {
                init.pop();
            }
        }
        let dynamic = external && space == Space::Shared && open_ended;
        if count == 0 && !dynamic {
            return Err(Refusal::unexpected(
                at,
                "an array without elements",
                "a size, or `.extern .shared` and `[]`",
            ));
        }
        if external && !dynamic {
            return Err(Refusal::unsupported(
                at,
                ".extern",
                "only dynamic shared memory, as `name[]`, is external",
            ));
        }
        let align = align.unwrap_or(1).max(element.bits() / 8 * lanes as u32);
        let scalar = space == Space::Param && dims.is_empty();
        Ok(Variable { space, align, element, count, scalar, init, pointers })
    }

    /// A value, or values in nested braces; rows that are cut short are filled with zero.
    fn initializer(
        &mut self,
        element: Mod,
        dims: &[u64],
        open_ended: bool,
        room: u64,
        pointers: &mut Vec<Pointer>,
    ) -> Parsed<Vec<u8>> {
        let size = u64::from(element.bits() / 8);
        // Bytes that one item at each depth stands for.
        let mut strides = vec![size];
        for d in dims.iter().skip(1).rev() {
            strides.insert(0, strides[0].saturating_mul(*d));
        }
        let mut bytes = Vec::new();
        let mut depth = 0usize;
        // Where the item that is open at each depth began.
        let mut starts: Vec<u64> = Vec::new();
        loop {
            let at = self.tok.at;
            if self.eat(b'{')? {
                if depth >= dims.len() {
                    return Err(Refusal::unexpected(at, "`{`", "a value"));
                }
                starts.push(bytes.len() as u64);
                depth += 1;
                if self.is(b'}') {
                    return self.unexpected("a value");
                }
                continue;
            }
            self.value(element, &mut bytes, pointers)?;
            if bytes.len() as u64 > room {
                return Err(Refusal::limit(at, "bytes of first values for this variable", room));
            }
            while depth > 0 && self.eat(b'}')? {
                depth -= 1;
                self.whole_pointers(&bytes, pointers)?;
                let start = starts.pop().unwrap_or(0);
                // The outermost brace stands for the whole variable, whose rest is zero anyway.
                if depth > 0 {
                    let row = strides[depth - 1];
                    let end = start.saturating_add(row).min(room);
                    if bytes.len() as u64 > start.saturating_add(row) {
                        return Err(Refusal::limit(at, "bytes of first values for this row", row));
                    }
                    self.padding += end.saturating_sub(bytes.len() as u64);
                    if self.padding > limits::PADDING_BYTES_MAX {
                        let what = "bytes of zeros that short rows of first values stand for";
                        return Err(Refusal::limit(at, what, limits::PADDING_BYTES_MAX));
                    }
                    bytes.resize(end as usize, 0);
                }
            }
            if depth == 0 {
                break;
            }
            self.expect(b',')?;
        }
        if dims.is_empty() && open_ended {
            return self.unexpected("an array");
        }
        Ok(bytes)
    }

    fn value(&mut self, element: Mod, bytes: &mut Vec<u8>, pointers: &mut Vec<Pointer>) -> Parsed<()> {
        if matches!(self.tok.tok, Tok::Word(name) if name != "WARP_SZ") {
            return self.pointer(element, bytes, pointers);
        }
        let (at, text) = (self.tok.at, self.tok.text);
        let bits = match (self.constant()?, element) {
            (Operand::Int(v), _) if !element.is_float() => v as u64,
            (Operand::F32(v), Mod::F32) => v.into(),
            (Operand::F32(v), Mod::F64) => f64::from(f32::from_bits(v)).to_bits(),
            (Operand::F64(v), Mod::F64) => v,
            (Operand::F64(v), Mod::F32) => (f64::from_bits(v) as f32).to_bits().into(),
            _ => {
                let expected = format!("a .{} value", element.text());
                return Err(Refusal::unexpected(at, &format!("`{text}`"), &expected));
            }
        };
        if self.is(b'(') && element == Mod::U8 {
            return self.pointer_byte(bits, bytes, pointers);
        }
        self.whole_pointers(bytes, pointers)?;
        // Numbers have 64 bits; what a wider element has above them is zero.
        bytes.extend_from_slice(&u128::from(bits).to_le_bytes()[..(element.bits() / 8) as usize]);
        Ok(())
    }

    /// `generic(name)+8` or `name` where a number of 64 bits may stand.
    fn pointer(&mut self, element: Mod, bytes: &mut Vec<u8>, pointers: &mut Vec<Pointer>) -> Parsed<()> {
        let at = self.tok.at;
        let pointer = self.pointer_value(bytes.len() as u64)?;
        if element != Mod::U64 {
            let expected = format!("a .{} value: addresses are .u64", element.text());
            return Err(Refusal::unexpected(at, "an address", &expected));
        }
        pointers.push(pointer);
        bytes.extend_from_slice(&[0; 8]);
        Ok(())
    }

    /// `0xFF00(generic(name))`: one byte of an address, where eight such stand for the whole of it.
    fn pointer_byte(&mut self, mask: u64, bytes: &mut Vec<u8>, pointers: &mut Vec<Pointer>) -> Parsed<()> {
        let at = self.tok.at;
        self.expect(b'(')?;
        let part = u64::from(mask.trailing_zeros() / 8);
        let pointer = self.pointer_value((bytes.len() as u64).wrapping_sub(part))?;
        self.expect(b')')?;
        let follows = match part {
            0 => true,
            _ => pointers.last() == Some(&pointer),
        };
        if mask != 0xff << (part * 8 % 64) || !follows {
            let expected = "the eight bytes of an address, from 0xFF to 0xFF00000000000000";
            return Err(Refusal::unexpected(at, "a part of an address", expected));
        }
        if part == 0 {
            self.whole_pointers(bytes, pointers)?;
            pointers.push(pointer);
        }
        bytes.push(0);
        Ok(())
    }

    /// An address that was begun byte by byte must be there to its end.
    fn whole_pointers(&self, bytes: &[u8], pointers: &[Pointer]) -> Parsed<()> {
        match pointers.last() {
            Some(last) if last.at + 8 > bytes.len() as u64 => {
                self.unexpected("all eight bytes of the address")
            }
            _ => Ok(()),
        }
    }

    fn pointer_value(&mut self, at_byte: u64) -> Parsed<Pointer> {
        let (mut name, mut at) = self.word("a variable's name")?;
        let generic = name == "generic" && self.eat(b'(')?;
        if generic {
            (name, at) = self.word("a variable's name")?;
            self.expect(b')')?;
        }
        let offset = if self.is(b'+') || self.is(b'-') { self.offset()? } else { 0 };
        let variable = match self.names.get(name).copied() {
            Some(Global::Variable(n)) => n,
            Some(Global::Function(n)) => {
                self.addressable(n, at)?;
                if generic || offset != 0 {
                    return Err(Refusal::unexpected(at, "a part of a function", "its name alone"));
                }
                return Ok(Pointer { at: at_byte, to: Pointed::Function(n), generic, offset });
            }
            None => return Err(Refusal::undeclared(at, "variable", name)),
        };
        if self.module.variables[variable as usize].space == Space::Shared {
            let why = "the address of shared memory is not known before a launch; take it with mov";
            return Err(Refusal::unsupported(at, name, why));
        }
        Ok(Pointer { at: at_byte, to: Pointed::Variable(variable), generic, offset })
    }

    /// `( .param .u64 a, .param .align 8 .b8 b[16] )`. Names are entered when the body begins.
    pub(super) fn params(&mut self, kernel: bool) -> Parsed<Vec<Param>> {
        self.expect(b'(')?;
        let mut params = Vec::new();
        self.param_names.clear();
        let mut offset = 0u64;
        while !self.eat(b')')? {
            if !params.is_empty() {
                self.expect(b',')?;
            }
            let at = self.tok.at;
            let register = !kernel && self.tok.tok == Tok::Dot("reg");
            let (mut param, name) = if register { self.register_param(at)? } else { self.param(at)? };
            offset = limits::aligned(offset, param.align);
            param.offset = offset as u32;
            offset += u64::from(param.bytes());
            if offset > limits::PARAM_BYTES_MAX {
                return Err(Refusal::limit(at, "bytes of parameters", limits::PARAM_BYTES_MAX));
            }
            if params.len() as u64 >= limits::PARAMS_MAX {
                return Err(Refusal::limit(at, "parameters", limits::PARAMS_MAX));
            }
            params.push(param);
            self.param_names.push(name);
        }
        Ok(params)
    }

    /// `.reg .u32 name`: passed as a `.param` of its size, from and to which the body's register is copied.
    fn register_param(&mut self, at: At) -> Parsed<(Param, FormalName<'a>)> {
        self.bump()?;
        let class = self.register_class(false, 1)?;
        let element = match class {
            Class::B8 => Mod::B8,
            Class::Pred | Class::B16 => Mod::B16,
            Class::B32 => Mod::B32,
            Class::B64 => Mod::B64,
            Class::B128 => Mod::B128,
            Class::F32 => Mod::F32,
            Class::F64 => Mod::F64,
        };
        let name = self.formal_name()?;
        let param = Param { element, align: element.bits() / 8, count: None, pointer: None, offset: 0 };
        Ok((param, (name, at, Some(class))))
    }

    /// A parameter's name; in a prototype `_` stands for it.
    fn formal_name(&mut self) -> Parsed<&'a str> {
        let Tok::Word(name) = self.tok.tok else { return self.unexpected("a parameter's name") };
        self.bump()?;
        Ok(name)
    }

    fn param(&mut self, at: At) -> Parsed<(Param, FormalName<'a>)> {
        self.expect_dot("param")?;
        let (mut align, element, lanes) = self.variable_head(Space::Param)?;
        if lanes > 1 {
            return self.unexpected("a scalar or an array parameter");
        }
        let mut pointer = None;
        if self.tok.tok == Tok::Dot("ptr") {
            self.bump()?;
            let mut space = None;
            let mut to = 4;
            while let Tok::Dot(word) = self.tok.tok {
                self.bump()?;
                match word {
                    "global" => space = Some(Space::Global),
                    "const" => space = Some(Space::Const),
                    "shared" => space = Some(Space::Shared),
                    "local" => space = Some(Space::Local),
                    "align" => to = self.alignment()?,
                    _ => return self.unexpected("`.global` or `.align` after `.ptr`"),
                }
            }
            if element.bits() != 64 || element.is_float() {
                return self.unexpected("`.u64` before `.ptr`");
            }
            pointer = Some((space, to));
        }
        let name = self.formal_name()?;
        let mut count = None;
        if self.eat(b'[')? {
            count = Some(self.int(limits::PARAM_BYTES_MAX, "bytes of parameters")?.max(1) as u32);
            self.expect(b']')?;
        }
        let size = element.bits() / 8;
        align = Some(align.unwrap_or(1).max(size));
        Ok((Param { element, align: align.unwrap_or(size), count, pointer, offset: 0 }, (name, at, None)))
    }
}
