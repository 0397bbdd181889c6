//! Programs whose lanes part in loops, as those do that go over a row of any length: some lanes leave a loop before others,
//! by its count, by what they load or for good; some take one side of a condition in it and some the other.

use super::Writer;
use crate::cpu_bench::{Bench, u32_arg};
use fastrand::Rng;
use std::fmt::Write;

/// Threads of a block in a row: whole warps, and parts of them.
const THREADS: [u32; 12] = [1, 7, 8, 9, 31, 32, 32, 33, 40, 64, 100, 256];
/// Blocks of several rows, which end within a warp.
const SHAPES: [[u32; 3]; 4] = [[16, 4, 1], [12, 5, 1], [4, 3, 3], [8, 2, 2]];
/// Elements of a row, at most.
const COLUMNS_MAX: u32 = 400;
/// Registers of each kind for loops.
const LOOPS_MAX: usize = 64;
/// Bytes that each thread has for itself.
const OWN_BYTES: usize = 96;
/// Instructions after which a program ends that would go on for too long.
const FUEL_MAX: u64 = 3_000_000;

const BEGIN: &str = ".version 7.8\n.target sm_80\n.address_size 64\n\
     .visible .entry k(.param .u32 n, .param .u64 in, .param .u64 row, .param .u64 out, .param .u64 sums)\n{\n\
     .reg .pred %k<2>, %q; .reg .pred %l<64>; .reg .b16 %h; .reg .b32 %r<4>; .reg .f32 %f<3>; .reg .b64 %d<2>; .reg .f64 %g;\n\
     .reg .b32 %i<64>; .reg .b32 %c<64>; .reg .b32 %x, %z, %t, %e, %n, %by, %all, %first; .reg .b64 %y, %a<64>, %in, %row, %mine, %sums;\n\
     .shared .align 8 .b8 cells[1024]; .local .align 8 .b8 room[16];\n\
     mov.u32 %t, %tid.x; mov.u32 %by, %ntid.x; mov.u32 %e, %ctaid.x; ld.param.u32 %n, [n]; mul.lo.u32 %first, %e, %n;\n";
/// The number of a thread, and of all, where blocks have several rows.
const ROWS: &str = "mov.u32 %x, %tid.y; mad.lo.u32 %t, %x, %by, %t; mov.u32 %z, %ntid.y; mul.lo.u32 %by, %by, %z;\n\
     mov.u32 %x, %tid.z; mad.lo.u32 %t, %x, %by, %t; mov.u32 %z, %ntid.z; mul.lo.u32 %by, %by, %z;\n";
const READY: &str = "mad.lo.u32 %e, %e, %by, %t; mov.u32 %all, %nctaid.x; mul.lo.u32 %all, %all, %by;\n\
     ld.param.u64 %in, [in]; ld.param.u64 %row, [row]; ld.param.u64 %mine, [out]; ld.param.u64 %sums, [sums];\n\
     mad.wide.u32 %mine, %e, 96, %mine; mad.wide.u32 %row, %first, 4, %row;\n\
     mad.lo.u32 %r0, %e, 2654435761, 12345; shr.u32 %r1, %r0, 9; mov.u32 %r2, %n; xor.b32 %r3, %r0, %t;\n\
     cvt.rn.f32.u32 %f0, %t; mov.f32 %f1, 0f3f000000; cvt.rn.f32.s32 %f2, %r0; mul.wide.u32 %d0, %r0, 77; cvt.u64.u32 %d1, %e;\n\
     mov.f64 %g, 0d3FF0000000000000; setp.lt.u32 %k0, %r0, 0x60000000; setp.ne.u32 %k1, %r2, 0;\n";
const END: &str = "st.global.v4.u32 [%mine], {%r0, %r1, %r2, %r3};\nst.global.v2.u64 [%mine+16], {%d0, %d1};\n\
     st.global.v2.f32 [%mine+32], {%f0, %f1};\nst.global.f32 [%mine+40], %f2;\nst.global.u32 [%mine+44], %i2;\nst.global.f64 [%mine+48], %g;\n\
     selp.u32 %x, 1, 0, %k0;\nselp.u32 %z, 2, 0, %k1;\nadd.u32 %x, %x, %z;\nst.global.u32 [%mine+60], %x;\nret;\n}\n";

/// Of a program that has few registers, so that machine code takes whole warps at once.
const LIGHT_END: &str = "st.global.v2.u32 [%mine], {%r0, %r1};\nst.global.f32 [%mine+32], %f0;\n\
     selp.u32 %x, 1, 0, %k0;\nst.global.u32 [%mine+60], %x;\nret;\n}\n";
const LIGHT: [(&str, &str); 6] =
    [("%r2", "%r0"), ("%r3", "%r1"), ("%f1", "%f0"), ("%f2", "%f0"), ("%d1", "%d0"), ("%k1", "%k0")];

/// What a loop's counter is good for.
#[derive(Clone, Copy, PartialEq)]
enum Counter {
    /// It is an element of the row.
    Column,
    /// It may be anything.
    Any,
}

/// The loop that statements are in.
struct Loop {
    /// Of its counter, bound and pointer among registers.
    number: usize,
    counter: Counter,
    /// Whether a pointer goes with the counter.
    pointer: bool,
    /// Whether its rounds are all alike: nobody leaves but by the count, and nobody sees others.
    plain: bool,
    end: String,
}

/// A program and all it is launched with; about a third fault or overspend their budget.
pub fn parting_case(seed: u64) -> Bench {
    let mut w =
        Writer { rng: Rng::with_seed(seed), text: BEGIN.to_owned(), labels: 0, depth: 0, together: true };
    let shape = match w.rng.u8(0..4) {
        0 => SHAPES[w.rng.usize(0..SHAPES.len())],
        _ => [THREADS[w.rng.usize(0..THREADS.len())], 1, 1],
    };
    if shape[1] > 1 {
        w.text.push_str(ROWS);
    }
    w.text.push_str(READY);
    let wild = w.rng.u8(0..6) == 0;
    let loops = w.rng.usize(1..4);
    let at = w.rng.usize(0..loops);
    for n in 0..loops {
        w.parting_loop(wild && n == at);
        w.between();
    }
    if w.rng.bool() {
        w.text = LIGHT.iter().fold(w.text, |text, (from, to)| text.replace(from, to));
        w.text.push_str(LIGHT_END);
    } else {
        w.text.push_str(END);
    }
    let rng = &mut w.rng;
    let threads = shape.iter().product::<u32>();
    // As a rule some threads of a warp have a round more than others, by one or by a few.
    let whole = [threads, 2 * threads, 32, 16 * threads][rng.usize(0..4)].min(COLUMNS_MAX);
    let columns = match rng.u8(0..4) {
        0 => (whole + rng.u32(0..3)).max(2) - 1,
        1 | 2 => whole + 4 * rng.u32(1..8),
        _ => rng.u32(1..COLUMNS_MAX),
    };
    let blocks = rng.u32(1..4);
    let elements = (blocks * columns) as usize;
    let mut input: Vec<u8> = Vec::new();
    for _ in 0..(elements + 64).max(256) {
        let word = if rng.bool() { (rng.f32() * 8.0 - 4.0).to_bits() } else { rng.u32(..) >> rng.u8(0..32) };
        input.extend(word.to_le_bytes());
    }
    // Now and then a buffer ends early, where some lanes still read.
    match rng.u8(0..6) {
        0 => input.truncate(rng.usize(0..input.len())),
        1 => input.truncate(elements * 4),
        _ => {}
    }
    let mut bench = Bench::new(&w.text, "k").grid([blocks, 1, 1], shape).arg(u32_arg(columns));
    bench = bench.buffer(input).buffer(vec![0; elements * 4 + 16]);
    bench = bench.buffer(vec![0; (threads * blocks) as usize * OWN_BYTES]).buffer(vec![0; 64]);
    let small = [50, 2_000, 20_000][rng.usize(0..3)];
    bench.limits.fuel = Some(if rng.u8(0..5) == 0 { rng.u64(1..small) } else { FUEL_MAX });
    bench
}

impl Writer {
    fn put(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A number that differs from lane to lane, or from a few lanes to the next few, or not at all.
    fn lane_number(&mut self, into: &str) -> String {
        let from = ["%t", "%t", "%e", "%r0", "%r1", "%r3", "%n"][self.rng.usize(0..7)];
        let mask = [1, 3, 7, 15, 31][self.rng.usize(0..5)];
        match self.rng.u8(0..6) {
            0 => format!("shr.u32 {into}, {from}, {}; and.b32 {into}, {into}, {mask};", self.rng.u8(1..6)),
            1 => format!("and.b32 {into}, %t, 28; shr.u32 {into}, {into}, {};", self.rng.u8(0..3)),
            2 => format!(
                "and.b32 %x, {from}, 252; cvt.u64.u32 %y, %x; add.u64 %y, %y, %in; ld.global.u32 {into}, [%y]; and.b32 {into}, {into}, {mask};"
            ),
            3 => format!("mov.u32 {into}, {};", self.rng.u8(0..20)),
            4 => format!("setp.eq.u32 %q, %t, {}; selp.b32 {into}, {mask}, 2, %q;", self.rng.u8(0..70)),
            _ => format!("and.b32 {into}, {from}, {mask};"),
        }
    }

    /// A condition on `%q` that lanes do not share.
    fn condition(&mut self, number: usize) -> String {
        let order = self.pick(&["lt", "ge", "eq", "ne", "gt", "le"]);
        let r = self.rng.u8(0..4);
        match self.rng.u8(0..7) {
            0 => format!("setp.{order}.u32 %q, %t, {};", self.rng.u8(0..66)),
            1 => format!("setp.{order}.u32 %q, %i{number}, {};", self.rng.u16(0..300)),
            2 => format!(
                "and.b32 %x, %i{number}, {}; setp.{order}.u32 %q, %x, {};",
                self.rng.u8(1..64),
                self.rng.u8(0..8)
            ),
            3 => format!("setp.{order}.s32 %q, %r{r}, {};", self.rng.i32(..)),
            4 => format!("setp.{order}.f32 %q, %f{}, 0f3f800000;", r % 3),
            5 => format!("and.b32 %x, %t, {}; setp.{order}.u32 %q, %x, 4;", self.rng.u8(1..32)),
            _ => format!("setp.{order}.u32 %q, %r{r}, %r{};", self.rng.u8(0..4)),
        }
    }

    /// A loop that lanes may leave one before the other. `wild`: something in it goes wrong for some of them.
    fn parting_loop(&mut self, wild: bool) {
        let (head, end) = (self.label(), self.label());
        // Each loop has registers of its own: what machine code makes of one hangs on all that is ever written to it.
        let number = self.labels % LOOPS_MAX;
        let more = format!("%l{number}");
        let counter = if self.depth == 0 && self.rng.u8(0..3) != 0 { Counter::Column } else { Counter::Any };
        let (begin, step, bound) = match counter {
            Counter::Column => {
                let from = self.pick(&["%t", "%t", "%t", "%t", "0"]);
                let step =
                    if from == "0" { self.pick(&["1", "3"]) } else { self.pick(&["%by", "%by", "32"]) };
                (format!("mov.u32 %i{number}, {from};"), step.to_owned(), "%n".to_owned())
            }
            Counter::Any => {
                let bound = self.lane_number(&format!("%c{number}"));
                let step = if self.rng.bool() { "1".to_owned() } else { self.rng.u8(1..4).to_string() };
                (format!("{bound}\nmov.u32 %i{number}, 0;"), step, format!("%c{number}"))
            }
        };
        let pointer = counter == Counter::Column && self.rng.bool();
        self.put(&begin);
        if pointer {
            self.put(&format!("add.u32 %x, %first, %i{number}; mad.wide.u32 %a{number}, %x, 4, %in;"));
        }
        let order = self.pick(&["lt.u32", "lt.s32"]);
        let test = format!("setp.{order} {more}, %i{number}, {bound};");
        // Conditions stand at a loop's end, as compilers put them, or at its head.
        let at_head = self.rng.u8(0..3) == 0;
        if at_head {
            self.put(&format!("{head}:\n{test}\n@!{more} bra {end};"));
        } else if self.rng.u8(0..4) != 0 {
            self.put(&format!("{test}\n@!{more} bra {end};\n{head}:"));
        } else {
            self.put(&format!("{head}:"));
        }
        let within = Loop { number, counter, pointer, plain: self.rng.bool(), end };
        self.depth += 1;
        let statements = self.rng.usize(1..7);
        let at = self.rng.usize(0..statements);
        for n in 0..statements {
            if wild && n == at {
                self.wrong(number);
            }
            self.statement(&within);
        }
        let end = within.end;
        self.depth -= 1;
        self.put(&format!("add.u32 %i{number}, %i{number}, {step};"));
        if pointer {
            self.put(&format!("mad.wide.u32 %a{number}, {step}, 4, %a{number};"));
        }
        if at_head {
            self.put(&format!("bra {head};\n{end}:"));
        } else {
            self.put(&format!("{test}\n@{more} bra {head};\n{end}:"));
        }
    }

    fn statement(&mut self, within: &Loop) {
        let number = within.number;
        match self.rng.u8(0..if within.plain { 16 } else { 26 }) {
            0..7 => self.sums(),
            7..11 => self.element(within),
            11..13 => {
                // Known for longer than a round.
                let (line, kept) = (self.condition(number), self.pick(&["%k0", "%k1"]));
                let join = [
                    "mov.pred KEPT, %q;",
                    "and.pred KEPT, %q, KEPT;",
                    "xor.pred KEPT, KEPT, %q;",
                    "xor.pred KEPT, %q, KEPT;",
                ];
                let join = self.pick(&join).replace("KEPT", kept);
                self.put(&format!("{line}\n{join}"));
            }
            13..16 => {
                let (line, no) = (self.condition(number), self.pick(&["", "!"]));
                let (a, b, held) = (self.rng.u8(0..4), self.rng.u8(0..4), self.pick(&["%q", "%q", "%k0"]));
                self.put(&format!("{line}\n@{no}{held} add.u32 %r{a}, %r{a}, %r{b};"));
            }
            16 | 17 => self.own(number),
            18..21 if self.depth < 5 => self.sides(within),
            21 if self.depth < 3 => self.parting_loop(false),
            22 => {
                // Whoever has found what it looks for leaves the loop, or for good.
                let (found, no) = (self.condition(number), self.pick(&["", "!"]));
                let how = self.pick(&["bra END", "bra END", "bra END", "ret", "exit"]);
                self.put(&format!("{found}\n@{no}%q {};", how.replace("END", &within.end)));
            }
            23 => {
                let who = self.rng.u32(0..200);
                self.put(&format!("setp.eq.u32 %q, %e, {who};\n@%q exit;"));
            }
            _ => self.seen_by_others(),
        }
    }

    /// What adds up from round to round.
    fn sums(&mut self) {
        let [a, b, f, g] = [4, 4, 3, 3].map(|n| self.rng.u8(0..n));
        let line = match self.rng.u8(0..12) {
            0 => format!("add.u32 %r{a}, %r{a}, %r{b};"),
            1 => format!("mad.lo.u32 %r{a}, %r{b}, 69069, %i2;"),
            2 => format!("add.rn.f32 %f{f}, %f{f}, %f{g};"),
            3 => format!("max.f32 %f{f}, %f{f}, %f{g};"),
            4 => format!("fma.rn.f32 %f{f}, %f{g}, 0f3f7fbe77, %f{f};"),
            5 => format!("ex2.approx.ftz.f32 %f{f}, %f{g};"),
            6 => format!("div.rn.f32 %f{f}, %f{f}, %f{g};"),
            7 => format!("mul.wide.u32 %y, %r{a}, 5; add.u64 %d0, %d0, %y;"),
            8 => format!("cvt.rn.f32.u32 %f{f}, %r{a};"),
            9 => format!("xor.b32 %r{a}, %r{a}, %r{b}; shf.l.wrap.b32 %r{b}, %r{b}, %r{a}, 5;"),
            10 => format!("cvt.f64.f32 %g, %f{f}; add.u64 %d1, %d1, %d0;"),
            _ => format!("min.s32 %r{a}, %r{a}, %r{b}; add.u32 %r{b}, %r{b}, 3;"),
        };
        self.put(&line);
    }

    /// Loads an element of the row, or somewhere in it, and may put it into another row.
    fn element(&mut self, within: &Loop) {
        let number = within.number;
        let into = match self.rng.u8(0..7) {
            0 | 1 => format!("u32 %r{}", self.rng.u8(0..4)),
            2..5 => format!("f32 %f{}", self.rng.u8(0..3)),
            5 => format!("{} %r{}", self.pick(&["u8", "s8"]), self.rng.u8(0..4)),
            _ => format!("s16 %r{}", self.rng.u8(0..4)),
        };
        let (kind, register) = into.split_once(' ').expect("two words");
        if within.counter == Counter::Any {
            let from = self.pick(&["%i", "%r0", "%t", "%r2"]).replace("%i", &format!("%i{number}"));
            self.put(&format!(
                "and.b32 %x, {from}, 63; mad.wide.u32 %y, %x, 4, %in; ld.global.{kind} {register}, [%y];"
            ));
            return;
        }
        if within.pointer {
            self.put(&format!("ld.global.{kind} {register}, [%a{number}];"));
        } else {
            // Some rounds find theirs in another buffer.
            let other = match self.rng.u8(0..6) {
                0 => format!(
                    "setp.ge.u32 %q, %i{number}, {};\nselp.b64 %y, %row, %y, %q;",
                    self.rng.u16(0..200)
                ),
                _ => String::new(),
            };
            self.put(&format!(
                "add.u32 %x, %first, %i{number}; mad.wide.u32 %y, %x, 4, %in;\n{other}\nld.global.{kind} {register}, [%y];"
            ));
        }
        if self.rng.u8(0..3) == 0 {
            let what = self.pick(&["%f0", "%r1", "%f2"]);
            let y = format!("mad.wide.u32 %y, %i{number}, 4, %row;");
            let line = match self.rng.u8(0..3) {
                0 => format!("{y} ld.global.u32 %z, [%y]; add.u32 %z, %z, %r0; st.global.u32 [%y], %z;"),
                _ => format!("{y} st.global.b32 [%y], {what};"),
            };
            self.put(&line);
        }
    }

    /// Loads and stores what only this thread has.
    fn own(&mut self, number: usize) {
        let r = self.rng.u8(0..4);
        let line = match self.rng.u8(0..6) {
            0 => format!("st.global.u32 [%mine+56], %r{r};"),
            1 => format!("ld.global.u32 %r{r}, [%mine+56];"),
            2 => format!(
                "and.b32 %x, %i{number}, 7; mad.wide.u32 %y, %x, 4, %mine; st.global.u32 [%y+64], %r{r};"
            ),
            3 => format!("and.b32 %x, %t, 255; shl.b32 %x, %x, 2; st.shared.u32 [%x], %r{r};"),
            4 => format!("and.b32 %x, %t, 255; shl.b32 %x, %x, 2; ld.shared.u32 %r{r}, [%x];"),
            _ => format!("st.local.u32 [room], %r{r}; ld.local.u32 %r{}, [room];", self.rng.u8(0..4)),
        };
        self.put(&line);
    }

    /// Some lanes take one way, and the others another or none.
    fn sides(&mut self, within: &Loop) {
        let (line, no) = (self.condition(within.number), self.pick(&["", "!"]));
        let (other, after) = (self.label(), self.label());
        self.put(&format!("{line}\n@{no}%q bra {other};"));
        self.depth += 1;
        for _ in 0..self.rng.usize(1..3) {
            self.statement(within);
        }
        if self.rng.bool() {
            self.put(&format!("bra {after};\n{other}:"));
            for _ in 0..self.rng.usize(1..3) {
                self.statement(within);
            }
            self.put(&format!("{after}:"));
        } else {
            self.put(&format!("{other}:"));
        }
        self.depth -= 1;
    }

    /// By which lanes see each other, so that the order of their rounds shows.
    fn seen_by_others(&mut self) {
        let (a, b) = (self.rng.u8(0..4), self.rng.u8(0..4));
        let line = match self.rng.u8(0..8) {
            0 => format!("red.shared.add.u32 [cells+{}], %r{a};", self.rng.u8(0..8) * 4),
            1 => format!("atom.shared.add.u32 %r{a}, [cells+16], 1;"),
            2 => format!("red.global.add.u32 [%sums+{}], %r{a};", self.rng.u8(0..16) * 4),
            3 => format!("atom.global.max.u32 %r{a}, [%sums], %r{b};"),
            4 => format!("activemask.b32 %x; add.u32 %r{a}, %r{a}, %x;"),
            5 => format!("shfl.sync.bfly.b32 %r{a}, %r{b}, {}, 31, 0xffffffff;", self.rng.u8(1..17)),
            6 => format!("mov.u32 %x, %clock; xor.b32 %r{a}, %r{a}, %x;"),
            _ => format!("and.b32 %x, %r{a}, 1020; ld.shared.u32 %r{b}, [%x]; st.shared.u32 [%x], %r{a};"),
        };
        self.put(&line);
    }

    /// An access that goes wrong for some lanes in some round, or a trap.
    fn wrong(&mut self, number: usize) {
        let who = match self.rng.u8(0..4) {
            0 => format!("setp.eq.u32 %q, %e, {};", self.rng.u8(0..100)),
            1 => format!("setp.eq.u32 %q, %i{number}, {};", self.rng.u16(0..300)),
            2 => format!("and.b32 %x, %r0, {}; setp.eq.u32 %q, %x, 0;", self.rng.u16(1..1024)),
            _ => self.condition(number),
        };
        let (r, bad) = (self.rng.u8(0..4), self.pick(&["1", "2", "3", "1099511627776", "-8", "65536"]));
        let base = self.pick(&["%in", "%mine", "%row", "%sums"]);
        let y = format!("selp.b64 %y, {bad}, 0, %q; add.u64 %y, %y, {base};");
        let line = match self.rng.u8(0..6) {
            0 | 1 => format!("{y} ld.global.u32 %r{r}, [%y];"),
            2 => format!("{y} st.global.u32 [%y], %r{r};"),
            3 => {
                format!("selp.b32 %x, {}, 8, %q; ld.shared.u32 %r{r}, [%x];", self.pick(&["2", "1024", "-4"]))
            }
            4 => "@%q trap;".to_owned(),
            _ => format!("@%q ld.global.u32 %r{r}, [{base}+{}];", self.pick(&["2", "1048576"])),
        };
        self.put(&format!("{who}\n{line}"));
    }

    /// What may stand between two loops: a barrier, a sum over the warp, or nothing.
    fn between(&mut self) {
        match self.rng.u8(0..5) {
            0 => self.put("bar.sync 0;"),
            1 => {
                for by in [16, 8, 4, 2, 1] {
                    let _ = writeln!(
                        self.text,
                        "shfl.sync.bfly.b32 %x, %f0, {by}, 31, 0xffffffff;\nadd.rn.f32 %f0, %f0, %x;"
                    );
                }
            }
            2 => {
                self.put("setp.eq.u32 %q, %t, 0;\n@%q st.shared.f32 [cells+8], %f0;\nbar.sync 0;\nld.shared.f32 %f1, [cells+8];");
                self.put("bar.sync 0;");
            }
            3 => self.condition_after(),
            _ => {}
        }
    }

    fn condition_after(&mut self) {
        let (line, label) = (self.condition(0), self.label());
        self.put(&format!("{line}\n@%q bra {label};"));
        self.sums();
        self.own(0);
        self.put(&format!("{label}:"));
    }
}
