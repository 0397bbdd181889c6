//! Every cap on a PTX module, named with its unit. What exceeds one is refused, never cut.

use super::ir::Function;

/// Text of a module: as on the wire.
pub const MODULE_BYTES_MAX: u64 = ion_protocol::limits::MODULE_BYTES_MAX as u64;
/// Instructions of a module; the median kernel in the wild has some 200, large libraries a hundred thousand.
pub const INSTRUCTIONS_MAX: u64 = 400_000;
/// Operands of a module, vector parts included.
pub const OPERANDS_MAX: u64 = 4 * INSTRUCTIONS_MAX;
/// Registers that one function uses: compilers name every value anew, and unrolled loops take above 130,000.
pub const REGISTERS_MAX: u64 = 1 << 18;
/// Registers that one function may declare; unused ones cost nothing but are a sign of mischief.
pub const DECLARED_REGISTERS_MAX: u64 = 1 << 20;
/// Kernels and functions of a module.
pub const FUNCTIONS_MAX: u64 = 4096;
/// Variables of a module, those of its functions included.
pub const VARIABLES_MAX: u64 = 16_384;
/// Labels of a module.
pub const LABELS_MAX: u64 = 200_000;
/// Depth of `{` in a body: inline assembly and call sequences use two or three.
pub const NESTING_MAX: u64 = 32;
/// Parameter block of a kernel: 4 KiB up to PTX 8.0, 32764 bytes after.
pub const PARAM_BYTES_MAX: u64 = 32_764;
/// Parameters of a kernel or function.
pub const PARAMS_MAX: u64 = 256;
/// Statically declared shared memory (PTX and CUDA agree on 48 KiB).
pub const SHARED_BYTES_MAX: u64 = 48 * 1024;
/// Local memory of a thread.
pub const LOCAL_BYTES_MAX: u64 = 64 * 1024;
/// Local memory of a thread that `alloca` gives out: what devices keep for that where nothing else is asked for.
pub const STACK_BYTES: u64 = 1024;
/// Constant variables of a module: one bank.
pub const CONST_BYTES_MAX: u64 = 64 * 1024;
/// Global variables of a module.
pub const GLOBAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Zeros that short rows of first values stand for, in all variables of a module: a few letters would otherwise fill
/// the memory. Compilers write rows out.
pub const PADDING_BYTES_MAX: u64 = 64 * 1024;
/// Largest alignment of a variable.
pub const ALIGN_MAX: u64 = 128;
/// Parts of a call's argument list or of a vector.
pub const PARTS_MAX: u64 = 255;
/// Canonical text for one byte of text, at most: `1,` among a call's arguments becomes an instruction that stores it.
pub const PRINT_PER_TEXT_BYTE_MAX: u64 = 24;
/// PTX versions that are read.
pub const VERSION_MIN: (u32, u32) = (6, 0);
pub const VERSION_MAX: (u32, u32) = (9, 0);

/// Memory of a parsed module in bytes for one byte of its text, at most: an argument that is a number needs two bytes
/// of text, and is an instruction with its operands (some hundred bytes); vectors grow by doubling.
/// `gpu/tests/ptx_fuzz/growth.rs` counts.
pub const MEMORY_PER_TEXT_BYTE_MAX: u64 = 128;

/// Rounds `offset` up to `align`, a power of two.
pub fn aligned(offset: u64, align: u32) -> u64 {
    let align = u64::from(align.max(1));
    offset.div_ceil(align) * align
}

/// Bytes that a function's own variables of one space take, laid out in order.
pub fn layout_bytes(function: &Function, space: super::ir::Space) -> u64 {
    function.variables.iter().filter(|v| v.space == space).fold(0, |end, v| aligned(end, v.align) + v.bytes())
}
