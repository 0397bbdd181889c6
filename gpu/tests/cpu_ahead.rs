//! Loops whose rounds machine code looks at ahead (`cpu/jit/build/ahead.rs`): what it then leaves out must not be missed.

mod cpu_bench;
mod random_kernels;

use cpu_bench::{Bench, bytes_of_u32, u32_arg, u32s, u64_arg};
use fastrand::Rng;
use random_kernels::{Ended, same};

/// Programs that one test tries.
const PROGRAMS: u64 = 60;

/// Rounds of [`WAIT`] after which what is left of a turn (`cpu/block.rs`) are some rounds of the loop that follows, or all.
fn wait(rng: &mut Rng) -> u32 {
    if rng.bool() { 1 } else { rng.u32(1300..1366) }
}

/// Uses up most of a turn, or nothing: the parameter `wait` says.
const WAIT: &str = ".reg .pred %over; .reg .b32 %w, %wait; ld.param.u32 %wait, [wait]; mov.u32 %w, 0;\n\
     WAIT: add.u32 %w, %w, 1; setp.lt.u32 %over, %w, %wait; @%over bra WAIT;";

/// How a program ends on both engines, which must agree.
fn ends(bench: &Bench, what: &str) -> Ended {
    same(bench).unwrap_or_else(|differs| panic!("{what}: {differs}\n{}", bench.text))
}

/// Loops that only load, at addresses that grow by the same
/// every round, until a number meets its bound. Some are entered again for another buffer, some come to where numbers wrap
/// around, some leave their buffer a few rounds before the end, and for some the budget ends first.
#[test]
fn loops_that_only_load_agree() {
    let mut faults = 0;
    for seed in 10_000..10_000 + 8 * PROGRAMS {
        let mut rng = Rng::with_seed(seed);
        let mut pick = |from: &[&'static str]| from[rng.usize(0..from.len())];
        let lanes: u32 = pick(&["0", "1", "1", "2"]).parse().expect("a number");
        let (sign, order) = (pick(&["u", "s"]), pick(&["lt", "le", "ne"]));
        let down = pick(&["", "", "down"]) == "down";
        // Elements of the step: each is read by the lanes that have it.
        let (kind, size) = match pick(&["1", "2", "4", "8", "16"]) {
            "1" => ("u8 %x", 1),
            "2" => ("u16 %h", 2),
            "4" => ("u32 %x", 4),
            "8" => ("v2.u32 {%x, %z}", 8),
            _ => ("v4.u32 {%x, %z, %w, %w}", 16),
        };
        let guard = pick(&["", "", "", "@%q "]);
        let address = match pick(&["wide", "mul", "convert", "pointer", "shift", "other"]) {
            "wide" => format!("mad.wide.{sign}32 %a, %j, {size}, %in;"),
            "mul" => format!("mul.wide.{sign}32 %a, %j, %size; add.u64 %a, %a, %in;"),
            "convert" => format!("cvt.u64.{sign}32 %a, %j; mad.lo.u64 %a, %a, {size}, %in;"),
            "shift" => format!(
                "mul.wide.{sign}32 %a, %j, 1; mul.lo.s64 %a, %a, {size}; sub.u64 %a, %in, %a; sub.u64 %a, %in, %a; add.u64 %a, %a, %in;"
            ),
            "other" => format!(
                "sub.u32 %k, %k, %by; sub.u32 %z, %from, %k; mad.lo.u32 %z, %t, {lanes}, %z; sub.u32 %z, %z, %by; mad.wide.{sign}32 %a, %z, {size}, %in;"
            ),
            _ => "add.u64 %p0, %p0, %grow; mov.u64 %a, %p0;".to_owned(),
        };
        let sides = if down { "%bound, %i" } else { "%i, %bound" };
        let (before, after) =
            if pick(&["", "after"]).is_empty() { (address.as_str(), "") } else { ("", address.as_str()) };
        let load = format!("{guard}ld.global.{kind}, [%a]; add.u32 %s, %s, %x; xor.b32 %s, %s, %z;");
        let first = if before.is_empty() { "mov.u64 %a, %at0;" } else { "" };
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 from, .param .u32 bound, .param .u32 by, .param .u64 back,\n\
             .param .u64 x, .param .u64 y, .param .u64 out)\n{{\n\
             .reg .pred %p, %q; .reg .b16 %h; .reg .b32 %t, %i, %j, %k, %x, %z, %w, %s, %c, %from, %bound, %by, %size;\n\
             .reg .b64 %a, %p0, %at0, %grow, %in, %other, %back, %o;\n\
             mov.u32 %t, %tid.x; ld.param.u32 %from, [from]; ld.param.u32 %bound, [bound]; ld.param.u32 %by, [by];\n\
             ld.param.u64 %back, [back]; ld.param.u64 %in, [x]; ld.param.u64 %other, [y];\n\
             mov.u32 %s, 0; mov.u32 %x, 0; mov.u32 %z, 0; mov.u32 %c, 0; mov.u32 %size, {size}; setp.lt.u32 %q, %t, 40;\n\
             add.u64 %at0, %in, 0; add.u64 %in, %in, %back; add.u64 %other, %other, %back;\n\
             AGAIN: mov.u32 %i, %from; mov.u32 %k, 0; mad.lo.u32 %j, %t, {lanes}, %from;\n\
             cvt.u64.{sign}32 %p0, %j; mad.lo.u64 %p0, %p0, {size}, %in; cvt.s64.s32 %grow, %by; mul.lo.s64 %grow, %grow, {size};\n\
             sub.u64 %p0, %p0, %grow; {first}\n\
             LOOP: {before} {load} add.u32 %j, %j, %by; add.u32 %i, %i, %by; {after} setp.{order}.{sign}32 %p, {sides}; @%p bra LOOP;\n\
             mov.u64 %in, %other; add.u32 %c, %c, 1; setp.lt.u32 %p, %c, 3; @%p bra AGAIN;\n\
             ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 8, %o; st.global.v2.u32 [%o], {{%s, %i}}; ret;\n}}\n"
        );
        let (rounds, threads) = (rng.u32(1..70), [1, 7, 32, 64, 80][rng.usize(0..5)]);
        // Some go far from one round to the next, where nothing is.
        let far = rng.u8(0..8) == 0;
        let step = if far { 1 << 22 } else { rng.u32(1..5).max(if rng.bool() { threads } else { 1 }) };
        let by = if down { step.wrapping_neg() } else { step };
        // From near where numbers wrap around, or from somewhere else.
        let edge = [0, 0, 1 << 31, 1 << 12][rng.usize(0..4)];
        let from = if down { edge + rounds * step + 4 } else { edge - edge.min(rng.u32(0..rounds * step)) };
        let bound = from.wrapping_add(by.wrapping_mul(rounds));
        let least = i64::from(if down { bound } else { from });
        let signed_least = if sign == "s" { i64::from(least as u32 as i32) } else { least };
        let back = (-signed_least * size as i64) as u64;
        // Room for all that is read, or for a few rounds less.
        let elements = if far { 2 } else { (rounds + 1) * step } + threads * lanes + 1;
        let short = if rng.u8(0..4) == 0 { rng.u32(0..elements) } else { 0 };
        let bytes = (elements - short) as usize * size;
        let [x, y] = [0, 1].map(|_| (0..bytes).map(|_| rng.u8(..)).collect::<Vec<_>>());
        let bench = Bench::new(&text, "k").grid([1; 3], [threads, 1, 1]);
        let bench = bench.arg(u32_arg(from)).arg(u32_arg(bound)).arg(u32_arg(by)).arg(u64_arg(back));
        let mut bench = bench.buffer(x).buffer(y).buffer(vec![0; threads as usize * 8]);
        bench.limits.fuel = Some(if rng.u8(0..4) == 0 { rng.u64(1..20_000) } else { 10_000_000 });
        faults += u64::from(ends(&bench, &format!("seed {seed}")).is_err());
    }
    assert!(faults > PROGRAMS && faults < 4 * PROGRAMS, "{faults}");
}

/// An index wraps around in the middle of a buffer, where a counter of its own has many rounds left: the next address is
/// far away.
#[test]
fn an_index_that_wraps_around_leaves_the_buffer() {
    let mut rng = Rng::with_seed(7);
    for (sign, edge, by) in [("u", 0, 1), ("u", 0, -1), ("s", 1u32 << 31, 1), ("s", 1 << 31, -1)] {
        for (lanes, left) in [0, 1, 3].into_iter().flat_map(|lanes| (1..48).map(move |left| (lanes, left))) {
            let text = format!(
                ".version 7.8\n.target sm_80\n.address_size 64\n\
                 .visible .entry k(.param .u32 wait, .param .u32 from, .param .u32 rounds, .param .u64 back, .param .u64 in, .param .u64 out)\n{{\n\
                 .reg .pred %p; .reg .b32 %t, %i, %j, %s, %x, %from, %rounds; .reg .b64 %a, %in, %base, %back, %o;\n\
                 mov.u32 %t, %tid.x; ld.param.u32 %from, [from]; ld.param.u32 %rounds, [rounds]; ld.param.u64 %in, [in];\n\
                 ld.param.u64 %back, [back]; sub.u64 %base, %in, %back; mad.lo.u32 %j, %t, {lanes}, %from;\n\
                 mov.u32 %i, 0; mov.u32 %s, 0; {WAIT}\n\
                 LOOP: mad.wide.{sign}32 %a, %j, 4, %base; ld.global.u32 %x, [%a]; add.u32 %s, %s, %x; add.u32 %j, %j, {by};\n\
                 add.u32 %i, %i, 1; setp.lt.u32 %p, %i, %rounds; @%p bra LOOP;\n\
                 ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 4, %o; st.global.u32 [%o], %s; ret;\n}}\n"
            );
            // The thread that comes first to the edge has `left` rounds before it.
            let ahead = if by > 0 { 31 * lanes + left } else { left };
            let from = edge.wrapping_sub(if by > 0 { ahead } else { 1 - ahead } as u32);
            // The middle of the buffer is where the first of them would be past it.
            let reach = |index: u32| if sign == "s" { i64::from(index as i32) } else { i64::from(index) };
            let back = (reach(from) + by * ahead - 256) * 4;
            for rounds in [left, left + 1, left + 20] {
                let bench = Bench::new(&text, "k").arg(u32_arg(wait(&mut rng))).arg(u32_arg(from));
                let bench = bench.arg(u32_arg(rounds as u32));
                let bench =
                    bench.arg(u64_arg(back as u64)).buffer(bytes_of_u32(&[3; 512])).buffer(vec![0; 128]);
                let what = format!("{sign}, by {by}, {lanes} a lane, {left} left, {rounds} rounds");
                match ends(&bench, &what) {
                    Ok((outputs, _)) => {
                        assert!(rounds == left, "{what}");
                        assert_eq!(u32s(&outputs[1]), [3 * rounds as u32; 32], "{what}");
                    }
                    Err(fault) => {
                        assert!(rounds > left && fault.contains("out-of-bounds"), "{what}: {fault}")
                    }
                }
            }
        }
    }
}

/// A counter wraps around before it meets its bound, or never meets it but so.
#[test]
fn a_counter_that_wraps_around_ends_its_loop() {
    let mut long = 0;
    for seed in 0..8 * PROGRAMS {
        let mut rng = Rng::with_seed(seed);
        let (order, signed) = (["lt", "le", "gt", "ge", "ne"][rng.usize(0..5)], rng.bool());
        let (not, swapped) = (rng.bool(), rng.bool());
        let edge = if signed { 1 << 31 } else { 0u32 };
        let by = rng.u32(1..5);
        let by = if rng.bool() { by } else { by.wrapping_neg() };
        let from = edge.wrapping_sub(by.wrapping_mul(rng.u32(1..60)));
        let bound = from.wrapping_add(by.wrapping_mul(rng.u32(0..120))).wrapping_sub(by.wrapping_mul(40));
        let goes_on = |i: u32| {
            let [x, y] = if swapped { [bound, i] } else { [i, bound] };
            // An order that signs change.
            let [x, y] = [x, y].map(|v| v ^ edge);
            not ^ match order {
                "lt" => x < y,
                "le" => x <= y,
                "gt" => x > y,
                "ge" => x >= y,
                _ => x != y,
            }
        };
        let lanes = rng.i32(-3..4);
        let counted = |thread: u32| {
            let mut i = from.wrapping_add((thread as i32 * lanes) as u32);
            let next = |_: &u32| {
                i = i.wrapping_add(by);
                !goes_on(i)
            };
            Some([(1..200).find(next)?, i])
        };
        // Those that go nearly all the way around take too long.
        let Some(expected) = (0..32).map(counted).collect::<Option<Vec<_>>>() else { continue };
        long += u32::from(expected[0][0] > 20);
        let (sides, sign) =
            (if swapped { "%bound, %i" } else { "%i, %bound" }, if signed { "s" } else { "u" });
        let (no, apart) = (if not { "!" } else { "" }, lanes.abs());
        let join = if lanes < 0 { "sub" } else { "add" };
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 wait, .param .u32 from, .param .u32 bound, .param .u32 by, .param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p; .reg .b32 %t, %m, %i, %s, %x, %from, %by, %bound; .reg .b64 %a, %in, %o;\n\
             ld.param.u32 %from, [from]; ld.param.u32 %bound, [bound]; ld.param.u32 %by, [by]; ld.param.u64 %in, [in];\n\
             mov.u32 %t, %tid.x; mad.wide.u32 %a, %t, 4, %in; mov.u32 %s, 0; mul.lo.u32 %m, %t, {apart}; {join}.u32 %i, %from, %m; {WAIT}\n\
             LOOP: ld.global.u32 %x, [%a]; add.u32 %s, %s, %x; add.u32 %i, %i, %by;\n\
             setp.{order}.{sign}32 %p, {sides}; @{no}%p bra LOOP;\n\
             ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 8, %o; st.global.v2.u32 [%o], {{%s, %i}}; ret;\n}}\n"
        );
        let bench =
            Bench::new(&text, "k").arg(u32_arg(wait(&mut rng))).arg(u32_arg(from)).arg(u32_arg(bound));
        let bench = bench.arg(u32_arg(by));
        let mut bench = bench.buffer(bytes_of_u32(&[1; 32])).buffer(vec![0; 256]);
        bench.limits.fuel = Some(10_000);
        let what = format!("seed {seed}");
        let outputs = ends(&bench, &what).unwrap_or_else(|fault| panic!("{what}: {fault}")).0;
        assert_eq!(u32s(&outputs[1]), expected.concat(), "{what}");
    }
    assert!(long > 60, "{long} loops have rounds to look ahead");
}

/// A pointer grows by what is no multiple of an element, or by so much that some rounds later it would be back.
#[test]
fn a_pointer_that_grows_crookedly_faults_in_the_next_round() {
    for (bits, by) in [
        (16, 1i64),
        (32, 2),
        (32, -2),
        (32, 6),
        (64, 4),
        (64, 12),
        (32, 1 << 38),
        (32, 1 << 60),
        (32, -(1 << 60)),
        (8, 1 << 61),
    ] {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 wait, .param .u64 by, .param .u32 rounds, .param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p; .reg .b32 %t, %i, %rounds; .reg .b64 %a, %in, %by, %s, %x, %o;\n\
             mov.u32 %t, %tid.x; ld.param.u64 %in, [in]; ld.param.u64 %by, [by]; ld.param.u32 %rounds, [rounds];\n\
             mov.u32 %i, 0; mov.u64 %s, 0; mad.wide.u32 %a, %t, {size}, %in; {WAIT}\n\
             LOOP: ld.global.u{bits} %x, [%a+256]; add.u64 %s, %s, %x; add.u64 %a, %a, %by;\n\
             add.u32 %i, %i, 1; setp.lt.u32 %p, %i, %rounds; @%p bra LOOP;\n\
             ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 8, %o; st.global.u64 [%o], %s; ret;\n}}\n",
            size = bits / 8
        );
        let rounds = [1, 2, 17, 18, 19, 40].into_iter();
        for (rounds, wait) in rounds.flat_map(|n| (1346..1366).chain([1]).map(move |wait| (n, wait))) {
            let bench =
                Bench::new(&text, "k").arg(u32_arg(wait)).arg(u64_arg(by as u64)).arg(u32_arg(rounds));
            let bench = bench.buffer(vec![1; 1024]).buffer(vec![0; 256]);
            let what = format!("{bits} bits, by {by}, {rounds} rounds, {wait} before");
            let expected = if by.abs() < 1 << 32 { "misaligned" } else { "out-of-bounds" };
            match ends(&bench, &what) {
                Ok(_) => assert!(rounds == 1, "{what}"),
                Err(fault) => assert!(rounds > 1 && fault.contains(expected), "{what}: {fault}"),
            }
        }
    }
}

/// A pointer leaves its buffer while its loop has many rounds left.
#[test]
fn a_pointer_that_leaves_its_buffer_faults_there() {
    for (bits, by) in [(8, 1i64), (32, 4), (32, -4), (32, 128), (64, -8), (64, 256)] {
        let size = bits / 8;
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 wait, .param .u64 by, .param .u32 rounds, .param .u64 first, .param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p; .reg .b32 %t, %i, %rounds; .reg .b64 %a, %in, %from, %first, %by, %s, %x, %o;\n\
             mov.u32 %t, %tid.x; ld.param.u64 %in, [in]; ld.param.u64 %by, [by]; ld.param.u32 %rounds, [rounds];\n\
             ld.param.u64 %first, [first]; add.u64 %from, %in, %first; mad.wide.u32 %a, %t, {size}, %from;\n\
             mov.u32 %i, 0; mov.u64 %s, 0; {WAIT}\n\
             LOOP: ld.global.u{bits} %x, [%a]; add.u64 %s, %s, %x; add.u64 %a, %a, %by;\n\
             add.u32 %i, %i, 1; setp.lt.u32 %p, %i, %rounds; @%p bra LOOP;\n\
             ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 8, %o; st.global.u64 [%o], %s; ret;\n}}\n"
        );
        for (room, wait) in
            [1, 2, 5, 16, 17, 18, 30].into_iter().flat_map(|room| (1346..1366).map(move |wait| (room, wait)))
        {
            let way = (room - 1) * by;
            let bytes = 32 * size + way.unsigned_abs() as usize;
            for rounds in [room, room + 1, room + 25] {
                let bench = Bench::new(&text, "k").arg(u32_arg(wait)).arg(u64_arg(by as u64));
                let bench = bench.arg(u32_arg(rounds as u32)).arg(u64_arg((-way).max(0) as u64));
                let bench = bench.buffer(vec![1; bytes]).buffer(vec![0; 256]);
                let what = format!("{bits} bits, by {by}, room for {room} of {rounds} rounds, {wait} before");
                match ends(&bench, &what) {
                    Ok(_) => assert!(rounds == room, "{what}"),
                    Err(fault) => {
                        assert!(rounds > room && fault.contains("out-of-bounds"), "{what}: {fault}")
                    }
                }
            }
        }
    }
}

/// A turn ends after the same round whether or not rounds are looked at ahead: what one warp has executed when it leaves the
/// loop tells where the other's turn ended.
#[test]
fn turns_end_after_the_same_round() {
    for (step, around) in [("1", 4096 / 5), ("%by", 128 / 5)] {
        let text = format!(
            ".version 7.8\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u32 by, .param .u32 rounds, .param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p; .reg .b32 %t, %i, %s, %x, %by, %rounds; .reg .b64 %a, %in, %o;\n\
             mov.u32 %t, %tid.x; ld.param.u64 %in, [in]; ld.param.u32 %by, [by]; ld.param.u32 %rounds, [rounds];\n\
             mov.u32 %i, 0; mov.u32 %s, 0; mad.wide.u32 %a, %t, 4, %in;\n\
             LOOP: ld.global.u32 %x, [%a]; add.u32 %s, %s, %x; add.u32 %i, %i, {step};\n\
             setp.lt.u32 %p, %i, %rounds; @%p bra LOOP;\n\
             mov.u32 %x, %clock; ld.param.u64 %o, [out]; mad.wide.u32 %o, %t, 8, %o; st.global.v2.u32 [%o], {{%s, %x}}; ret;\n}}\n"
        );
        for rounds in around - 24..around + 24 {
            let bench = Bench::new(&text, "k").grid([1; 3], [96, 1, 1]).arg(u32_arg(1)).arg(u32_arg(rounds));
            let bench = bench.buffer(bytes_of_u32(&[1; 96])).buffer(vec![0; 768]);
            let ended = ends(&bench, &format!("by {step}, {rounds} rounds")).expect("all goes well");
            assert_eq!(u32s(&ended.0[1])[0], rounds);
        }
    }
}
