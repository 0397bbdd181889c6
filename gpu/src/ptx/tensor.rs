//! The matrices of `mma` and `wmma`: their shapes, and which registers of a thread hold them.
//!
//! Owns: [`Fragment`]s, for the check of operands (`forms.rs`) and for the engines. Never: multiplies.
//! Tests: `gpu/tests/cpu_tensor.rs`.

use super::{
    ir::Mods,
    words::{Mod, Op},
};

/// Which matrix of `d = a * b + c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    A,
    B,
    C,
    D,
}

/// One matrix as the threads of a warp hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Registers of each thread.
    pub registers: usize,
    pub element: Mod,
    /// Elements in one register.
    pub packed: usize,
}

impl Fragment {
    /// The type of the registers.
    pub fn register(&self) -> Mod {
        match self.element {
            Mod::F32 | Mod::F64 => self.element,
            _ => Mod::B32,
        }
    }
}

/// Rows of `a`, columns of `b`, and what both have in common.
pub fn shape(mods: &Mods) -> Option<[usize; 3]> {
    mods.as_slice().iter().find_map(|m| {
        Some(match m {
            Mod::M8n8k4 => [8, 8, 4],
            Mod::M8n8k16 => [8, 8, 16],
            Mod::M8n8k32 => [8, 8, 32],
            Mod::M8n8k128 => [8, 8, 128],
            Mod::M16n8k4 => [16, 8, 4],
            Mod::M16n8k8 => [16, 8, 8],
            Mod::M16n8k16 => [16, 8, 16],
            Mod::M16n8k32 => [16, 8, 32],
            Mod::M16n8k64 => [16, 8, 64],
            Mod::M16n8k128 => [16, 8, 128],
            Mod::M16n8k256 => [16, 8, 256],
            Mod::M16n16k16 => [16, 16, 16],
            Mod::M32n8k16 => [32, 8, 16],
            Mod::M8n32k16 => [8, 32, 16],
            Mod::M16n16k8 => [16, 16, 8],
            _ => return None,
        })
    })
}

/// The type of a matrix's elements. `wmma` on halves names only the types of `d` and `c`.
fn element(op: Op, mods: &Mods, role: Role) -> Option<Mod> {
    let transfer = mods.one_of(&[Mod::Load, Mod::Store]).is_some();
    let halves = op == Op::Wmma && !transfer && mods.ty(2).is_none();
    let place = match (role, halves) {
        _ if transfer => 0,
        (Role::D, _) => 0,
        (Role::C, true) => 1,
        (Role::A | Role::B, true) => return Some(Mod::F16),
        (Role::A, false) => 1,
        (Role::B, false) => 2,
        (Role::C, false) => 3,
    };
    mods.ty(place)
}

/// The matrix that a `wmma.load` or `wmma.store` moves.
pub fn moved(mods: &Mods) -> Role {
    match mods.one_of(&[Mod::A, Mod::B, Mod::C, Mod::D]) {
        Some(Mod::A) => Role::A,
        Some(Mod::B) => Role::B,
        Some(Mod::C) => Role::C,
        _ => Role::D,
    }
}

/// How the threads of a warp hold the matrix of this role.
pub fn fragment(op: Op, mods: &Mods, role: Role) -> Option<Fragment> {
    let element = element(op, mods, role)?;
    let [m, n, k] = shape(mods)?;
    let accumulator = matches!(role, Role::C | Role::D);
    let packed = match element {
        Mod::F64 | Mod::F32 | Mod::S32 => 1,
        other => 32 / other.bits().max(1) as usize,
    };
    let elements = match role {
        Role::A => m * k,
        Role::B => k * n,
        Role::C | Role::D => m * n,
    };
    let registers = match (op, element) {
        // Four products at once, one for each eight threads.
        (Op::Mma, Mod::F16 | Mod::F32) if [m, n, k] == [8, 8, 4] => elements * 4 / 32 / packed,
        // Each element is held by two or more threads.
        (Op::Wmma, Mod::F16) if !accumulator => 8,
        _ => elements / 32 / packed,
    };
    Some(Fragment { registers, element, packed })
}
