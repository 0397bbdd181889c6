//! A kernel's machine code.
//!
//! Owns: [`Unit`]: the functions of its regions, the pages they are in, and what must hold before one may be called.
//! Regions are found from the first instruction on: wherever one is left, and after every instruction that the
//! interpreter executes, another may begin.
//! Never: is freed while a warp may be in it: whoever runs a unit holds it.
//! Limits: [`UNIT_CODES_MAX`], [`UNIT_SIZE_MAX`], [`REGION_SIZE_MAX`].
//! Tests: `gpu/tests/cpu_engines.rs`.

use super::{
    build::{OfUnit, build},
    class::Classes,
    context::{Context, Seat, reach},
    flow::Flow,
    region::{Plan, Region, waits},
    stride::Rows,
};
use crate::cpu::code::{Kernel, NONE};
use cranelift_codegen::{
    Context as Function,
    ir::{
        AbiParam, InstBuilder, Signature,
        types::{I32, I64},
    },
    isa::{CallConv, OwnedTargetIsa},
    settings::{self, Configurable},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Module, default_libcall_names};

/// Instructions of all regions of a kernel together; what is beyond is interpreted.
pub const UNIT_CODES_MAX: u32 = 16_384;
/// Cranelift's instructions that they become. Most become some fifty, an atomic operation a thousand; each takes some ten
/// microseconds, so a kernel is ready in seconds at worst, and in a fraction of one as a rule.
pub const UNIT_SIZE_MAX: usize = 1 << 18;
/// The same of one region, since large ones take longer for each.
pub const REGION_SIZE_MAX: usize = 1 << 16;

/// Gives the seat after the last one that had its turn.
type Entry = unsafe extern "C" fn(*mut Context) -> *mut Seat;

/// A region that can be called.
pub struct Native {
    pub region: Region,
    entry: Entry,
}

impl Native {
    /// Runs the region for one warp after the other, as long as each ends its turn with it. Gives how many ran: of these
    /// all but the last have come to an instruction that ends a turn.
    ///
    /// # Safety
    /// The seats' pointers must be those of the warps' own frames and the context's those of their block, with as many
    /// slots, predicates, bytes of parameters and slots of shadow as the kernel and the region say; nobody else may use
    /// frames and block meanwhile; and the unit must be alive.
    pub unsafe fn call(&self, context: &mut Context, seats: &mut [Seat]) -> usize {
        context.place(seats);
        // SAFETY: the function was made for this signature, and the caller answers for the pointers.
        let after = unsafe { (self.entry)(context) };
        (after.addr() - seats.as_ptr().addr()) / size_of::<Seat>()
    }
}

pub struct Unit {
    /// By instruction: the region that begins there, or [`NONE`].
    begins: Vec<u32>,
    regions: Vec<Native>,
    /// Slots of shadow that any region needs.
    pub shadow: u32,
    /// Accesses that remember where they found their bytes.
    pub sites: u32,
    /// Slots that a thread may read before it has written them, and whether there are such predicates.
    pub early_slots: Vec<u32>,
    pub early_preds: bool,
    /// Where regions are left if lanes wait there that the others are to join.
    waits: Vec<u32>,
    module: Option<JITModule>,
}

// SAFETY: the module is not touched any more but to free its pages when the unit goes, and the functions in it may be
// called by any thread.
unsafe impl Send for Unit {}
// SAFETY: as above.
unsafe impl Sync for Unit {}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unit({} regions)", self.regions.len())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: whoever runs the unit's functions holds the unit.
            unsafe { module.free_memory() };
        }
    }
}

/// A compiler for this processor.
pub fn isa() -> Option<OwnedTargetIsa> {
    let mut flags = settings::builder();
    for (name, value) in [("opt_level", "speed"), ("is_pic", "false"), ("enable_verifier", "false")] {
        flags.set(name, value).ok()?;
    }
    cranelift_native::builder().ok()?.finish(settings::Flags::new(flags)).ok()
}

impl Unit {
    /// Translates what can be of a kernel; `None` if nothing can.
    pub fn translate(kernel: &Kernel, rows: Rows) -> Option<Unit> {
        let mut flow = Flow::of(kernel)?;
        // For narrow and for wide regions.
        let classes = [
            Classes::of(kernel, &flow, Rows::Ragged < rows)?,
            Classes::of(kernel, &flow, Rows::Passes < rows)?,
        ];
        flow.waits = waits(kernel, &classes);
        let mut module = JITModule::new(JITBuilder::with_isa(isa()?, default_libcall_names()));
        let reach = define_reach(&mut module)?;
        let mut found: Vec<(u32, FuncId, Region)> = Vec::new();
        let (mut open, mut seen) = (vec![0u32], vec![false; kernel.codes.len() + 1]);
        let mut so_far = SoFar::default();
        while let Some(pc) = open.pop().filter(|_| so_far.size < UNIT_SIZE_MAX) {
            if std::mem::replace(&mut seen[pc as usize], true) {
                continue;
            }
            let Some(block) = flow.at(pc) else { continue };
            let plan = Plan::choose(kernel, &flow, &classes, rows, block)
                .filter(|plan| so_far.codes + plan.total <= UNIT_CODES_MAX);
            let made = plan.and_then(|plan| {
                so_far.codes += plan.total;
                let classes = &classes[usize::from(plan.wide)];
                define(&mut module, kernel, &flow, classes, &plan, reach, &mut so_far)
            });
            match made {
                Some((id, region)) => {
                    open.extend(&region.exits);
                    found.push((pc, id, region));
                }
                None => open.extend(&flow.blocks[block].next),
            }
        }
        if found.is_empty() {
            return None;
        }
        module.finalize_definitions().ok()?;
        let mut begins = vec![NONE; kernel.codes.len()];
        let mut regions = Vec::new();
        for (pc, id, region) in found {
            begins[pc as usize] = regions.len() as u32;
            let code = module.get_finalized_function(id);
            // SAFETY: the function was defined with this signature.
            let entry = unsafe { std::mem::transmute::<*const u8, Entry>(code) };
            regions.push(Native { region, entry });
        }
        let shadow = regions.iter().map(|native| native.region.shadow).max().unwrap_or(0);
        let live = flow.live_at_start();
        // A wide register is two slots, of which the second is no register of its own.
        let slots =
            |reg: u32| reg..(reg + if flow.widths[reg as usize] == 1 { 1 } else { 2 }).min(kernel.slots);
        let early = (0..kernel.slots).filter(|reg| live.has(*reg) && !classes[0].fixed(*reg));
        let early_slots = early.flat_map(slots).filter(|slot| !classes[0].fixed(*slot)).collect();
        let early_preds = (kernel.slots..kernel.slots + kernel.preds).any(|reg| live.has(reg));
        let sites = so_far.sites;
        Some(Unit {
            begins,
            regions,
            shadow,
            sites,
            early_slots,
            early_preds,
            waits: flow.waits,
            module: Some(module),
        })
    }

    /// Whether a thread may read anything before it has written it.
    pub fn is_early(&self) -> bool {
        self.early_preds || !self.early_slots.is_empty()
    }

    /// Whether a region is left at this instruction if lanes wait there.
    pub fn is_left_at(&self, pc: u32) -> bool {
        self.waits.binary_search(&pc).is_ok()
    }

    /// The region that begins at this instruction.
    #[inline(always)]
    pub fn at(&self, pc: u32) -> Option<&Native> {
        self.regions.get(self.begins[pc as usize] as usize)
    }
}

/// The way from regions to [`reach`], which keeps all registers as they are: calls are rare, and what is around them is
/// not to be slower for it.
fn define_reach(module: &mut JITModule) -> Option<FuncId> {
    let mut plain = module.make_signature();
    plain.params.extend([I64, I64, I64, I64, I32, I32].map(AbiParam::new));
    let signature = Signature { call_conv: CallConv::PreserveAll, ..plain.clone() };
    let mut function = Function::new();
    function.func.signature = signature.clone();
    let mut builder = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function.func, &mut builder);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let plain = b.import_signature(plain);
    let to = b.ins().iconst(I64, reach as *const () as i64);
    let params = b.block_params(entry).to_vec();
    b.ins().call_indirect(plain, to, &params);
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(module.target_config());
    let id = module.declare_anonymous_function(&signature).ok()?;
    module.define_function(id, &mut function).ok()?;
    Some(id)
}

/// What the regions of a unit have come to.
#[derive(Default)]
struct SoFar {
    codes: u32,
    /// Cranelift's instructions, of regions that were too large as well.
    size: usize,
    sites: u32,
}

fn define(
    module: &mut JITModule,
    kernel: &Kernel,
    flow: &Flow,
    classes: &Classes,
    plan: &Plan,
    reach: FuncId,
    so_far: &mut SoFar,
) -> Option<(FuncId, Region)> {
    let mut signature = module.make_signature();
    signature.params.push(AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    let mut function = Function::new();
    function.func.signature = signature.clone();
    let mut builder = FunctionBuilderContext::new();
    let config = module.target_config();
    let reach = module.declare_func_in_func(reach, &mut function.func);
    let b = FunctionBuilder::new(&mut function.func, &mut builder);
    let unit = OfUnit { config, reach, sites: &mut so_far.sites };
    let region = build(b, unit, kernel, flow, classes, plan)?;
    let size = function.func.dfg.num_insts();
    so_far.size += size;
    if size > REGION_SIZE_MAX {
        return None;
    }
    let id = module.declare_anonymous_function(&signature).ok()?;
    module.define_function(id, &mut function).ok()?;
    Some((id, region))
}
