//! Random kernels: valid PTX over the instructions that are translated to machine code and some that are not, with branches,
//! bounded loops, shared memory with barriers, shuffles and atomic operations.

#![allow(dead_code, unused_imports, reason = "each user of these takes its part")]

mod agree;
mod light;
mod parting;

pub use agree::{Ended, bench, case, result, same};
pub use light::{light_program, striding_program};
pub use parting::parting_case;

use fastrand::Rng;
use std::fmt::Write;

/// Threads of a block; not a multiple of 32, so that one warp is partly filled.
pub const BLOCK: u32 = 80;
pub const BLOCKS: u32 = 3;
/// Registers of each class that programs use; the first of them is kept for addresses and loops.
const REGISTERS: usize = 6;

/// Writes one program.
struct Writer {
    rng: Rng,
    text: String,
    labels: usize,
    depth: usize,
    /// Whether all threads of the block are here, so that they may meet at a barrier.
    together: bool,
}

impl Writer {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(0..from.len())]
    }

    fn reg(&mut self, class: char) -> String {
        format!("%{class}{}", self.rng.usize(0..REGISTERS))
    }

    /// A source: a register, or now and then a number with an edge to it.
    fn src(&mut self, class: char) -> String {
        if self.rng.u8(0..4) != 0 {
            return self.reg(class);
        }
        match class {
            'f' => {
                let bits =
                    [0u32, 1 << 31, 0x3f80_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 1, 0x7f7f_ffff];
                format!("0f{:08X}", bits[self.rng.usize(0..bits.len())])
            }
            'g' => {
                let bits = [0u64, 1 << 63, 0x3ff0 << 48, 0x7ff0 << 48, 0x7ff8_0000_0000_0001, 1];
                format!("0d{:016X}", bits[self.rng.usize(0..bits.len())])
            }
            'h' => format!("{}", self.rng.i16(-9..9)),
            _ => {
                let edges = [0i64, 1, -1, 31, 32, 63, 64, 0x7fff_ffff, -0x8000_0000, 0x55aa];
                edges[self.rng.usize(0..edges.len())].to_string()
            }
        }
    }

    fn line(&mut self, line: &str) {
        let guard = if self.rng.u8(0..6) == 0 {
            let (no, p) = (self.rng.bool(), self.reg('p'));
            format!("@{}{p} ", if no { "!" } else { "" })
        } else {
            String::new()
        };
        let _ = writeln!(self.text, "{guard}{line}");
    }

    fn integer(&mut self) {
        let (bits, class) = [(16, 'h'), (32, 'r'), (64, 'd')][self.rng.usize(0..3)];
        let sign = self.pick(&["u", "s"]);
        let (d, a, b, c) = (self.reg(class), self.src(class), self.src(class), self.src(class));
        let by = self.src('r');
        let line = match self.rng.u8(0..16) {
            0 => format!("mul.lo.{sign}{bits} {d}, {a}, {b};"),
            1 => format!("mul.hi.{sign}{bits} {d}, {a}, {b};"),
            2 => format!("mad.lo.{sign}{bits} {d}, {a}, {b}, {c};"),
            3 => format!("div.{sign}{bits} {d}, {a}, {b};"),
            4 => format!("rem.{sign}{bits} {d}, {a}, {b};"),
            5 => format!("min.{sign}{bits} {d}, {a}, {b};"),
            6 => format!("max.{sign}{bits} {d}, {a}, {b};"),
            7 => format!("and.b{bits} {d}, {a}, {b};"),
            8 => format!("or.b{bits} {d}, {a}, {b};"),
            9 => format!("xor.b{bits} {d}, {a}, {b};"),
            10 => format!("shl.b{bits} {d}, {a}, {by};"),
            11 => format!("shr.{sign}{bits} {d}, {a}, {by};"),
            12 => format!("not.b{bits} {d}, {a};"),
            13 => format!("sad.{sign}{bits} {d}, {a}, {b}, {c};"),
            14 => format!("sub.{sign}{bits} {d}, {a}, {b};"),
            _ => format!("add.{sign}{bits} {d}, {a}, {b};"),
        };
        self.line(&line);
    }

    fn bits(&mut self) {
        let (r, a, b, c) = (self.reg('r'), self.src('r'), self.src('r'), self.src('r'));
        let (d, e) = (self.reg('d'), self.src('d'));
        let (table, sign) = (self.rng.u8(..), self.pick(&["u", "s"]));
        let side = self.pick(&["l.wrap", "l.clamp", "r.wrap", "r.clamp"]);
        let (low, high) = (self.rng.u8(0..40), self.rng.u8(0..40));
        let line = match self.rng.u8(0..24) {
            13 => format!("bfe.{sign}64 {d}, {e}, {low}, {high};"),
            14 => format!("bfi.b64 {d}, {e}, {d}, {low}, {high};"),
            15 => format!("bfe.{sign}32 {r}, {a}, {low}, {high};"),
            16 => format!("bfi.b32 {r}, {a}, {b}, {low}, {high};"),
            17 => format!("bfi.b32 {r}, {a}, {b}, {c}, {r};"),
            18 => format!("prmt.b32 {r}, {a}, {b}, {};", self.rng.u16(..)),
            19 => format!("bfind.{sign}32 {r}, {a};\nbfind.shiftamt.{sign}64 {r}, {d};"),
            20 => format!("mul24.{}.{sign}32 {r}, {a}, {b};", self.pick(&["lo", "hi"])),
            21 => format!("mad24.{}.{sign}32 {r}, {a}, {b}, {c};", self.pick(&["lo", "hi"])),
            22 => format!("dp2a.{}.{sign}32.s32 {r}, {a}, {b}, {c};", self.pick(&["lo", "hi"])),
            23 => format!("dp4a.{sign}32.u32 {r}, {a}, {b}, {c};\nprmt.b32.b4e {r}, {a}, {r}, {b};"),
            0 => format!("mul.wide.{sign}32 {d}, {a}, {b};"),
            1 => format!("mad.wide.{sign}32 {d}, {a}, {b}, {e};"),
            2 => format!("lop3.b32 {r}, {a}, {b}, {c}, {table};"),
            3 => format!("shf.{side}.b32 {r}, {a}, {b}, {c};"),
            4 => format!("popc.b32 {r}, {a};"),
            5 => format!("clz.b64 {r}, {e};"),
            6 => format!("brev.b32 {r}, {a};"),
            7 => format!("bfe.{sign}32 {r}, {a}, {b}, {c};"),
            8 => format!("prmt.b32 {r}, {a}, {b}, {c};"),
            9 => self.carries(),
            10 => format!("dp4a.u32.s32 {r}, {a}, {b}, {c};"),
            11 => format!("abs.s32 {r}, {a};"),
            _ => format!("neg.s32 {r}, {a};"),
        };
        self.line(&line);
    }

    /// What sets the carry and what takes it.
    fn carries(&mut self) -> String {
        let (bits, class) = [(32, 'r'), (64, 'd')][self.rng.usize(0..2)];
        let sign = self.pick(&["u", "s"]);
        let mut lines = Vec::new();
        for n in 0..self.rng.usize(1..5) {
            let (d, a, b, c) = (self.reg(class), self.src(class), self.src(class), self.src(class));
            let (cc, half) = (self.pick(&[".cc", ".cc", ""]), self.pick(&["lo", "hi"]));
            lines.push(match self.rng.u8(0..if n == 0 { 3 } else { 6 }) {
                0 => format!("add.cc.{sign}{bits} {d}, {a}, {b};"),
                1 => format!("sub.cc.{sign}{bits} {d}, {a}, {b};"),
                2 => format!("mad.{half}.cc.{sign}{bits} {d}, {a}, {b}, {c};"),
                3 => format!("addc{cc}.{sign}{bits} {d}, {a}, {b};"),
                4 => format!("subc{cc}.{sign}{bits} {d}, {a}, {b};"),
                _ => format!("madc.{half}{cc}.{sign}{bits} {d}, {a}, {b}, {c};"),
            });
        }
        lines.join("\n")
    }

    fn float(&mut self) {
        let (ty, class) = [("f32", 'f'), ("f64", 'g')][self.rng.usize(0..2)];
        let (d, a, b, c) = (self.reg(class), self.src(class), self.src(class), self.src(class));
        let ftz = if ty == "f32" { self.pick(&["", "", ".ftz"]) } else { "" };
        let sat = if ty == "f32" { self.pick(&["", "", "", ".sat"]) } else { "" };
        let sat_single = self.pick(&["", "", ".sat"]);
        let line = match self.rng.u8(0..16) {
            0 => format!("add.rn{ftz}{sat}.{ty} {d}, {a}, {b};"),
            1 => format!("sub.rn{ftz}{sat}.{ty} {d}, {a}, {b};"),
            2 => format!("mul.rn{ftz}{sat}.{ty} {d}, {a}, {b};"),
            3 | 4 => format!("fma.rn{ftz}{sat}.{ty} {d}, {a}, {b}, {c};"),
            5 => format!("div.rn{ftz}.{ty} {d}, {a}, {b};"),
            6 => format!("sqrt.rn{ftz}.{ty} {d}, {a};"),
            7 => format!("rcp.rn{ftz}.{ty} {d}, {a};"),
            8 => format!("min{ftz}.{ty} {d}, {a}, {b};"),
            9 => format!("max{ftz}.{ty} {d}, {a}, {b};"),
            10 => format!("abs{ftz}.{ty} {d}, {a};"),
            11 => format!("neg{ftz}.{ty} {d}, {a};"),
            12 => format!("copysign.{ty} {d}, {a}, {b};"),
            _ => {
                let (op, last) =
                    [("add", ""), ("sub", ""), ("mul", ""), ("fma", ", %f4")][self.rng.usize(0..4)];
                let (mode, x, y) = (self.pick(&["rz", "rm", "rp"]), self.src('f'), self.src('f'));
                format!("{op}.{mode}{ftz}{sat_single}.f32 %f1, {x}, {y}{last};")
            }
        };
        self.line(&line);
    }

    fn approximate(&mut self) {
        let (f, a) = (self.reg('f'), self.src('f'));
        let ftz = self.pick(&["", ".ftz"]);
        let scale = self.pick(&["0f3F800000", "0f2F800000", "0f34000000", "0fB8000000"]);
        let how = match self.rng.u8(0..7) {
            0 => format!("ex2.approx{ftz}"),
            1 => format!("lg2.approx{ftz}"),
            2 => format!("sin.approx{ftz}"),
            3 => format!("cos.approx{ftz}"),
            4 => format!("rsqrt.approx{ftz}"),
            _ => "tanh.approx".to_string(),
        };
        self.line(&format!("mul.rn.f32 {f}, {a}, {scale};"));
        self.line(&format!("{how}.f32 {f}, {f};"));
    }

    /// Numbers of 16 bits, one in a register or two in a word.
    fn half(&mut self) {
        let (pair, class) = [("", 'h'), ("x2", 'r')][self.rng.usize(0..2)];
        let (d, a, b, c) = (self.reg(class), self.reg(class), self.reg(class), self.reg(class));
        let (h, f, e, r, p) = (self.reg('h'), self.reg('f'), self.reg('f'), self.reg('r'), self.reg('p'));
        let ty = self.pick(&["f16", "bf16"]);
        let plain = ty == "f16";
        let ftz = if plain { self.pick(&["", ".ftz"]) } else { "" };
        let sat = if plain { self.pick(&["", "", ".sat"]) } else { "" };
        let (relu, nan, cmp) =
            (self.pick(&["", ".relu"]), self.pick(&["", ".NaN"]), self.pick(&["lt", "geu", "ne", "num"]));
        let line = match self.rng.u8(0..16) {
            0 => format!("add.rn{ftz}{sat}.{ty}{pair} {d}, {a}, {b};"),
            1 => format!("sub.rn{ftz}{sat}.{ty}{pair} {d}, {a}, {b};"),
            2 => format!("mul.rn{ftz}{sat}.{ty}{pair} {d}, {a}, {b};"),
            3 => format!("fma.rn{ftz}{sat}.{ty}{pair} {d}, {a}, {b}, {c};"),
            4 => format!("fma.rn{ftz}{relu}.{ty}{pair} {d}, {a}, {b}, {c};"),
            5 => format!("min{ftz}{nan}.{ty}{pair} {d}, {a}, {b};"),
            6 => format!("max{ftz}{nan}.{ty}{pair} {d}, {a}, {b};"),
            7 => format!("abs{ftz}.{ty}{pair} {d}, {a};"),
            8 => format!("neg{ftz}.{ty}{pair} {d}, {a};"),
            9 => format!("cvt.f32.{ty} {f}, {h};"),
            10 => format!("cvt.rn.{ty}.f32 {h}, {f};"),
            11 => format!("cvt.rn{relu}.{ty}x2.f32 {r}, {f}, {e};"),
            12 => format!("tanh.approx.{ty}{pair} {d}, {a};"),
            13 => format!("ex2.approx{}.{ty}{pair} {d}, {a};", if plain { "" } else { ".ftz" }),
            14 => format!("setp.{cmp}{ftz}.{ty} {p}, {h}, {h};"),
            _ => format!("mul.rn.f32 {f}, {f}, 0f34000000;\ncvt.rn.{ty}.f32 {h}, {f};"),
        };
        self.line(&line);
    }

    fn convert(&mut self) {
        let (r, d, h, f, g) = (self.reg('r'), self.reg('d'), self.reg('h'), self.reg('f'), self.reg('g'));
        let (k, e) = (self.reg('h'), self.reg('r'));
        let (mode, sign) = (self.pick(&["rni", "rzi", "rmi", "rpi"]), self.pick(&["u", "s"]));
        let (ftz, sat, half) =
            (self.pick(&["", ".ftz"]), self.pick(&["", ".sat"]), self.pick(&["f16", "bf16"]));
        let line = match self.rng.u8(0..38) {
            24 => format!("cvt.{mode}{ftz}{sat}.f32.f32 {f}, {f};"),
            25 => format!("cvt.sat{ftz}.f32.f32 {f}, {f};"),
            26 => format!("cvt.{mode}.f64.f64 {g}, {g};"),
            27 => format!("cvt.{mode}{ftz}.{sign}32.f32 {r}, {f};"),
            28 => format!("cvt.rzi.{sign}64.f64 {d}, {g};"),
            29 => format!("cvt.rzi.{sign}32.f64 {r}, {g};"),
            30 => format!("cvt.rn.f64.{sign}64 {g}, {d};"),
            31 => format!("cvt.rn.f32.{sign}16 {f}, {h};"),
            32 => format!("cvt.rn.f32.{sign}8 {f}, {r};"),
            33 => format!("cvt.rn.f16.{sign}32 {h}, {r};"),
            34 => format!("cvt.rn.{half}.{sign}16 {h}, {h};"),
            35 => format!("cvt.rn.{half}.f64 {h}, {g};"),
            36 => format!("cvt.rn.f64.{sign}16 {g}, {h};"),
            37 => format!("mul.rn.f64 {g}, {g}, 0d3E00000000000000;\ncvt.{mode}.f64.f64 {g}, {g};"),
            18 => format!("mov.b32 {r}, {{{h}, {k}}};"),
            19 => format!("mov.b32 {{{h}, {k}}}, {r};"),
            20 => format!("mov.b64 {d}, {{{r}, {e}}};"),
            21 => format!("mov.b64 {{{r}, {e}}}, {d};"),
            22 => format!("mov.b64 {d}, {{{h}, {k}, 7, {h}}};"),
            23 => format!("mov.b64 {{{h}, _, {k}, _}}, {d};"),
            0 => format!("cvt.u64.u32 {d}, {r};"),
            1 => format!("cvt.s64.s32 {d}, {r};"),
            2 => format!("cvt.u32.u64 {r}, {d};"),
            3 => format!("cvt.s32.s8 {r}, {r};"),
            4 => format!("cvt.u16.u32 {h}, {r};"),
            5 => format!("cvt.s32.s16 {r}, {h};"),
            6 => format!("cvt.rn.f32.s32 {f}, {r};"),
            7 => format!("cvt.rn.f32.u32 {f}, {r};"),
            8 => format!("cvt.rzi.s32.f32 {r}, {f};"),
            9 => format!("cvt.rzi.u32.f32 {r}, {f};"),
            10 => format!("cvt.f64.f32 {g}, {f};"),
            11 => format!("cvt.rn.f32.f64 {f}, {g};"),
            12 => format!("cvt.rn.f64.s32 {g}, {r};"),
            13 => format!("cvt.rn.f64.u32 {g}, {r};"),
            14 => format!("mov.b32 {f}, {r};"),
            15 => format!("mov.b32 {r}, {f};"),
            16 => format!("mov.b64 {d}, {g};"),
            _ => format!("mov.b64 {g}, {d};"),
        };
        self.line(&line);
    }

    fn compare(&mut self) {
        let (p, q, o) = (self.reg('p'), self.reg('p'), self.reg('p'));
        let (a, b) = (self.src('r'), self.src('r'));
        let (x, y) = (self.src('f'), self.src('f'));
        let (v, w) = (self.src('d'), self.src('d'));
        let (m, n) = (self.src('g'), self.src('g'));
        let (s, t) = (self.src('h'), self.src('h'));
        let int = self.pick(&["eq", "ne", "lt", "le", "gt", "ge"]);
        let float = self.pick(&[
            "eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
        ]);
        let (sign, join) = (self.pick(&["u", "s"]), self.pick(&["and", "or", "xor"]));
        let (r, f, d) = (self.reg('r'), self.reg('f'), self.reg('d'));
        let line = match self.rng.u8(0..12) {
            0 => format!("setp.{int}.{sign}32 {p}, {a}, {b};"),
            1 => format!("setp.{int}.{join}.{sign}32 {p}, {a}, {b}, !{q};"),
            2 => format!("setp.{int}.{sign}64 {p}, {v}, {w};"),
            3 => format!("setp.{int}.{sign}16 {p}, {s}, {t};"),
            4 => format!("setp.{float}.f32 {p}, {x}, {y};"),
            5 => format!("setp.{float}.ftz.f32 {p}, {x}, {y};"),
            6 => format!("setp.{float}.f64 {p}, {m}, {n};"),
            7 => format!("selp.b32 {r}, {a}, {b}, {p};"),
            8 => format!("selp.f32 {f}, {x}, {y}, {p};"),
            9 => format!("selp.b64 {d}, {v}, {w}, {p};"),
            10 => format!("set.{int}.u32.{sign}32 {r}, {a}, {b};"),
            _ => format!("{join}.pred {p}, {q}, {o};"),
        };
        self.line(&line);
    }

    /// An access to this thread's own part of shared memory, or to somewhere in a buffer.
    fn memory(&mut self) {
        let (r, f, d, h) = (self.reg('r'), self.reg('f'), self.reg('d'), self.reg('h'));
        let at = self.reg('r');
        let (no, p) = (self.pick(&["", "!"]), self.reg('p'));
        let line = match self.rng.u8(0..18) {
            0 => format!("st.shared.u32 [%own], {r};"),
            1 => format!("ld.shared.u32 {r}, [%own];"),
            2 => format!("st.shared.f32 [%own+4], {f};"),
            3 => format!("ld.shared.s16 {h}, [%own+2];"),
            4 => format!("ld.shared.u8 {r}, [%own+3];"),
            5 => format!("st.shared.u64 [%own+8], {d};"),
            6 => format!("ld.shared.u64 {d}, [%own+8];"),
            7 => format!(
                "and.b32 %x, {at}, 1020;\ncvt.u64.u32 %y, %x;\nadd.u64 %y, %y, %in;\nld.global.u32 {r}, [%y];"
            ),
            8 => format!("ld.global.v2.u32 {{{r}, {at}}}, [%in+16];"),
            9 => format!("st.local.u32 [%stack], {r};\nld.local.u32 {at}, [%stack];"),
            10 => format!("st.global.f32 [%mine+40], {f};\nld.global.f32 {f}, [%mine+40];"),
            // Where the guard does not hold, the address is none.
            11 => format!(
                "setp.lt.u32 %q, {at}, 1024;\nand.b32 %x, {at}, -4;\ncvt.u64.u32 %y, %x;\nadd.u64 %y, %y, %in;\n\
                 @%q ld.global.u32 {r}, [%y];\n@%q ld.global.s8 {h}, [%y+1];"
            ),
            12 => format!(
                "@{no}{p} ld.global.v2.u64 {{%y, {d}}}, [%in+16];\n@{no}{p} st.shared.u64 [%own+8], {d};"
            ),
            13 => format!("@{no}{p} ld.shared.f32 {f}, [%own];\n@{p} st.global.f32 [%mine+40], {f};"),
            14 => format!("@{no}{p} st.local.u32 [%stack], {r};\n@{p} ld.local.u32 {at}, [%stack];"),
            15 => format!(
                "@{no}{p} st.global.v2.u32 [%mine+40], {{{r}, {at}}};\n@{p} st.global.u16 [%mine+44], {h};"
            ),
            16 => format!(
                "@{no}{p} red.shared.add.u32 [cells+{}], {r};\n@{p} atom.shared.max.u32 {r}, [cells+8], {at};",
                self.rng.u8(0..8) * 4
            ),
            _ => format!("ld.param.u32 {r}, [n];"),
        };
        let _ = writeln!(self.text, "{line}");
    }

    fn collective(&mut self) {
        let (r, a, p) = (self.reg('r'), self.src('r'), self.reg('p'));
        let by = self.rng.u8(0..32);
        let how = self.pick(&["up", "down", "bfly", "idx"]);
        let line = match self.rng.u8(0..8) {
            5 => format!("mov.u32 %x, {by};\nshfl.sync.{how}.b32 {r}, {a}, %x, 31, 0xffffffff;"),
            6 => format!("bar.warp.sync 0xffffffff;\nmov.u32 %x, -1;\nvote.sync.all.pred {p}, {p}, %x;"),
            7 => format!("mov.u32 %x, {by};\nshl.b32 {r}, {a}, %x;\nbfe.s32 {r}, {r}, %x, %x;"),
            0 => format!("shfl.sync.{how}.b32 {r}, {a}, {by}, 31, 0xffffffff;"),
            1 => format!("vote.sync.ballot.b32 {r}, {p}, 0xffffffff;"),
            2 => format!("vote.sync.any.pred {p}, {p}, 0xffffffff;"),
            3 => format!("red.shared.add.u32 [cells+{}], {a};", self.rng.u8(0..8) * 4),
            _ => format!("atom.global.max.u32 %x, [%sums+{}], {a};", self.rng.u8(0..8) * 4),
        };
        let _ = writeln!(self.text, "{line}");
    }

    fn barrier(&mut self) {
        if self.together {
            let other = self.rng.u32(0..BLOCK) * 16;
            let r = self.reg('r');
            let _ =
                writeln!(self.text, "bar.sync 0;\nld.shared.u32 {r}, [cells+{}];\nbar.sync 0;", other + 64);
        }
    }

    /// One thread, or nobody, leaves for good.
    fn leave(&mut self) {
        let who = self.rng.u32(0..2 * BLOCK * BLOCKS);
        let _ = writeln!(self.text, "setp.ne.u32 %q, %e, {who};\n@!%q exit;");
    }

    fn branch(&mut self) {
        let (label, p) = (self.label(), self.reg('p'));
        let together = std::mem::replace(&mut self.together, false);
        let _ = writeln!(self.text, "@{p} bra {label};");
        self.some();
        if self.rng.bool() {
            let end = self.label();
            let _ = writeln!(self.text, "bra {end};\n{label}:");
            self.some();
            let _ = writeln!(self.text, "{end}:");
        } else {
            let _ = writeln!(self.text, "{label}:");
        }
        self.together = together;
    }

    /// A loop whose bound is the same for all threads, or not.
    fn repeat(&mut self) {
        let (label, r, depth) = (self.label(), self.reg('r'), self.depth);
        let same = self.rng.bool();
        let bound = if same { self.rng.u8(1..6).to_string() } else { format!("%b{depth}") };
        let together = self.together;
        self.together &= same;
        let _ = writeln!(self.text, "and.b32 %b{depth}, {r}, 7;\nmov.u32 %n{depth}, 0;\n{label}:");
        self.some();
        let _ = writeln!(
            self.text,
            "add.u32 %n{depth}, %n{depth}, 1;\nsetp.lt.u32 %q, %n{depth}, {bound};\n@%q bra {label};"
        );
        self.together = together;
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("L{}", self.labels)
    }

    /// A handful of statements.
    fn some(&mut self) {
        self.depth += 1;
        for _ in 0..self.rng.usize(2..9) {
            match self.rng.u8(0..28) {
                24 | 25 => self.half(),
                26 => self.approximate(),
                0..6 => self.integer(),
                6..8 => self.bits(),
                8..12 => self.float(),
                12..14 => self.convert(),
                14..17 => self.compare(),
                17..19 => self.memory(),
                19 => self.collective(),
                20 if self.rng.bool() => self.leave(),
                20 => self.barrier(),
                21 | 22 if self.depth < 4 => self.branch(),
                23 if self.depth < 4 => self.repeat(),
                _ => self.integer(),
            }
        }
        self.depth -= 1;
    }
}

/// A program whose threads start with values of their own and store all their registers at the end.
pub fn program(seed: u64) -> String {
    let mut w =
        Writer { rng: Rng::with_seed(seed), text: String::new(), labels: 0, depth: 0, together: true };
    w.text.push_str(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u32 n, .param .u64 in, .param .u64 out, .param .u64 sums)\n{\n\
         .reg .pred %p<6>; .reg .pred %q; .reg .b16 %h<6>; .reg .b32 %r<6>; .reg .b64 %d<6>; .reg .f32 %f<6>;\n\
         .reg .f64 %g<6>; .reg .b32 %n<6>; .reg .b32 %b<6>; .reg .b32 %x, %own, %stack, %t, %e;\n\
         .reg .b64 %y, %in, %mine, %sums;\n\
         .shared .align 8 .b8 cells[1408]; .local .align 8 .b8 room[16];\n\
         mov.u32 %t, %tid.x; mov.u32 %e, %ctaid.x; mad.lo.u32 %e, %e, 80, %t;\n\
         ld.param.u64 %in, [in]; ld.param.u64 %mine, [out]; ld.param.u64 %sums, [sums];\n\
         mad.wide.u32 %mine, %e, 168, %mine; mov.u32 %stack, room;\n\
         mov.u32 %own, cells; mad.lo.u32 %own, %t, 16, %own; add.u32 %own, %own, 64;\n",
    );
    for n in 0..REGISTERS {
        let k = 2 * n as u32 + 1;
        let uniform = w.rng.u8(0..3) == 0;
        let from = if uniform { "ld.param.u32 %x, [n];" } else { "mov.u32 %x, %e;" };
        let _ = writeln!(
            w.text,
            "{from} mad.lo.u32 %r{n}, %x, {}, {k}; cvt.u16.u32 %h{n}, %r{n}; mul.wide.u32 %d{n}, %r{n}, {};\n\
             cvt.rn.f32.s32 %f{n}, %r{n}; cvt.rn.f64.s32 %g{n}, %r{n}; setp.lt.u32 %p{n}, %r{n}, {};\n\
             mov.u32 %n{n}, 0; mov.u32 %b{n}, 0;",
            w.rng.u32(..) | 1,
            w.rng.u32(..),
            w.rng.u32(..),
        );
    }
    w.text.push_str("setp.ne.u32 %q, %t, %t; st.shared.u64 [%own], %d0; st.shared.u64 [%own+8], %d1;\n");
    w.text.push_str("setp.ge.u32 %q, %t, 8; @%q bra READY; shl.b32 %x, %t, 3; st.shared.u64 [%x], 0;\nREADY:\nbar.sync 0;\n");
    for _ in 0..3 {
        w.some();
    }
    for n in 0..REGISTERS {
        let _ = writeln!(
            w.text,
            "st.global.u32 [%mine+{}], %r{n}; st.global.u64 [%mine+{}], %d{n}; st.global.f64 [%mine+{}], %g{n};",
            n * 4,
            48 + n * 8,
            96 + n * 8,
        );
        let _ = writeln!(
            w.text,
            "st.global.f32 [%mine+{}], %f{n}; st.global.u16 [%mine+{}], %h{n};",
            24 + n * 4,
            144 + n * 2
        );
        let _ = writeln!(w.text, "selp.u16 %h{n}, 1, 0, %p{n}; st.global.u8 [%mine+{}], %h{n};", 156 + n);
    }
    w.text.push_str("bar.sync 0; setp.ne.u32 %q, %t, 0; @%q exit; ld.shared.u32 %x, [cells]; st.global.u32 [%mine+164], %x; ret;\n}\n");
    w.text
}
