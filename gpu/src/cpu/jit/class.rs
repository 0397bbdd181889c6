//! What is known of each register's values, for the whole kernel.
//!
//! Owns: [`Classes`]. A register is *uniform* if all its values are the same in all lanes as long as the lanes have
//! taken the same way; whoever relies on it checks the registers again once a warp has split. A register is *lazy* if it
//! only ever holds results of floating-point arithmetic: its NaNs need not be made canonical before somebody looks at
//! its bits.
//! Never: looks at control flow; the answers hold at every instruction.
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    effects::Reg,
    flow::{self, Flow},
    stride::Strides,
};
use crate::{
    cpu::{
        code::{CmpTy, Code, Fill, FloatOp, FloatTy, Kernel, Kind, NONE},
        memory::Area,
    },
    ptx::words::Special,
};

#[derive(Debug)]
pub struct Classes {
    varying: Vec<bool>,
    lazy: Vec<bool>,
    constants: Vec<Option<u64>>,
    fixed: Vec<bool>,
    block_numbers: Vec<(Reg, u8)>,
    strides: Strides,
    agreeable: Vec<bool>,
}

impl Classes {
    /// `rows`: whether the threads of a pass always lie in one row of the block. `None` if that takes too long to find.
    pub fn of(kernel: &Kernel, flow: &Flow, rows: bool) -> Option<Classes> {
        let registers = flow.widths.len();
        let mut constants = vec![None; registers];
        let mut fixed = vec![false; registers];
        let mut varying = vec![false; registers];
        let mut lazy = vec![true; registers];
        let mut block_numbers = Vec::new();
        for (slot, fill) in &kernel.fills {
            fixed[*slot as usize] = true;
            match fill {
                Fill::Word(v) => constants[*slot as usize] = Some(u64::from(*v)),
                Fill::Wide(v) => constants[*slot as usize] = Some(*v),
                Fill::Special(special, part) => {
                    if *special == Special::Ctaid {
                        block_numbers.push((*slot, *part));
                    }
                    varying[*slot as usize] = differs(*special);
                    lazy[*slot as usize] = false;
                }
            }
        }
        let mut classes = Classes {
            varying,
            lazy,
            constants,
            fixed,
            block_numbers,
            strides: Strides::default(),
            agreeable: Vec::new(),
        };
        flow::settle(|| classes.spread(kernel, flow))?;
        flow::settle(|| classes.settle(kernel, flow))?;
        classes.strides = Strides::of(kernel, flow, &classes, rows)?;
        classes.find_agreeable(kernel, flow);
        Some(classes)
    }

    pub fn varying(&self, reg: Reg) -> bool {
        self.varying[reg as usize]
    }

    pub fn lazy(&self, reg: Reg) -> bool {
        self.lazy[reg as usize]
    }

    /// Whether a predicate, though it may differ, will nearly always be the same in all lanes: it only ever compares
    /// numbers that grow evenly, as the bounds of loops over elements do.
    pub fn agreeable(&self, reg: Reg) -> bool {
        self.agreeable[reg as usize]
    }

    fn find_agreeable(&mut self, kernel: &Kernel, flow: &Flow) {
        let mut agreeable = vec![true; self.varying.len()];
        let even = |slot: u32| !self.varying(slot) || self.stride(slot).is_some();
        for (i, effects) in kernel.codes.iter().zip(&flow.effects) {
            let compares = matches!(i.kind, Kind::Setp { ty: CmpTy::Int(_), join: None, .. });
            if !(compares && i.guard == NONE && even(i.a) && even(i.b)) {
                effects.writes.iter().for_each(|(reg, _)| agreeable[*reg as usize] = false);
            }
        }
        self.agreeable = agreeable;
    }

    /// By how much a varying register grows from lane to lane of a pass, if always by the same.
    pub fn stride(&self, reg: Reg) -> Option<i64> {
        self.strides.get(reg)
    }

    /// Whether the register is filled before the first instruction and never written.
    pub fn fixed(&self, reg: Reg) -> bool {
        self.fixed[reg as usize]
    }

    /// Which part of the block's place in the grid the register is. It may not stand in the frame.
    pub fn block_number(&self, reg: Reg) -> Option<u8> {
        self.block_numbers.iter().find(|(slot, _)| *slot == reg).map(|(_, part)| *part)
    }

    pub fn constant(&self, reg: Reg) -> Option<u64> {
        self.constants[reg as usize]
    }

    /// One round of: what depends on varying registers, or is not computed here, varies.
    fn spread(&mut self, kernel: &Kernel, flow: &Flow) -> bool {
        let mut changed = false;
        for block in &flow.blocks {
            for n in block.start..block.end {
                let effects = &flow.effects[n as usize];
                // One address of local memory is another place for each thread, and a generic one may be such.
                let own = match kernel.codes[n as usize].kind {
                    Kind::Load { area: Area::Local, .. } => true,
                    Kind::Load { area: Area::Generic, .. } => kernel.local_bytes > 0,
                    _ => false,
                };
                if block.stop || block.joint || own || effects.reads.iter().any(|(reg, _)| self.varying(*reg))
                {
                    for (reg, _) in &effects.writes {
                        changed |= !std::mem::replace(&mut self.varying[*reg as usize], true);
                    }
                }
            }
        }
        changed
    }

    /// One round of: what may hold bits that arithmetic has not made is not lazy.
    fn settle(&mut self, kernel: &Kernel, flow: &Flow) -> bool {
        let mut changed = false;
        for (i, effects) in kernel.codes.iter().zip(&flow.effects) {
            if !self.makes_lazy(i) {
                for (reg, _) in &effects.writes {
                    changed |= std::mem::replace(&mut self.lazy[*reg as usize], false);
                }
            }
        }
        changed
    }

    fn makes_lazy(&self, i: &Code) -> bool {
        match i.kind {
            Kind::Float(op, ty, _) => op != FloatOp::Copysign && matches!(ty, FloatTy::F32 | FloatTy::F64),
            Kind::Move { wide } => self.carries_lazy(i.a, wide),
            Kind::Selp { wide, .. } => self.carries_lazy(i.a, wide) && self.carries_lazy(i.b, wide),
            _ => false,
        }
    }

    /// Whether the register holds arithmetic results, or a constant that is no NaN.
    fn carries_lazy(&self, slot: u32, wide: bool) -> bool {
        if slot == NONE {
            return false;
        }
        match self.constant(slot) {
            Some(bits) if wide => !f64::from_bits(bits).is_nan(),
            Some(bits) => !f32::from_bits(bits as u32).is_nan(),
            None => self.lazy(slot),
        }
    }
}

/// Whether a special register differs from lane to lane.
fn differs(special: Special) -> bool {
    match special {
        Special::Tid
        | Special::Laneid
        | Special::LanemaskEq
        | Special::LanemaskLt
        | Special::LanemaskLe
        | Special::LanemaskGe
        | Special::LanemaskGt => true,
        Special::Ntid
        | Special::Ctaid
        | Special::Nctaid
        | Special::Warpid
        | Special::Nwarpid
        | Special::Smid
        | Special::Nsmid
        | Special::Gridid
        | Special::Clock
        | Special::Clock64
        | Special::ClockHi
        | Special::Globaltimer
        | Special::GlobaltimerLo
        | Special::GlobaltimerHi
        | Special::GraphExec
        | Special::Envreg
        | Special::AggrSmemSize
        | Special::ReservedSmemBegin
        | Special::ReservedSmemEnd
        | Special::ReservedSmemCap
        | Special::ReservedSmem0
        | Special::ReservedSmem1
        | Special::Clusterid
        | Special::Nclusterid
        | Special::ClusterCtaid
        | Special::ClusterNctaid
        | Special::ClusterCtarank
        | Special::ClusterNctarank
        | Special::ExplicitCluster
        | Special::DynamicSmemSize
        | Special::TotalSmemSize
        | Special::WarpSize => false,
    }
}
