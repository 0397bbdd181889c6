//! The memory between launches: taken down by the engine, committed to, and blocks of any launch held against it.

mod cpu_bench;

use cpu_bench::{Bench, LIMITS, bytes_of_u32, u32s};
use ion_gpu::{
    backend::Backend,
    cpu::CpuBackend,
    program::LoadedProgram,
    replay::{Origin, replay, replay_between, replay_either},
    states::{FREE_BYTES, Recorded, Recorder},
};
use ion_protocol::{
    BlobHash, Bytes,
    check::{BlockAt, Finding},
    fault::Fault,
    job::{Init, Launch, Phase, Program, Step},
    states::{Kept, Place, decode_row, encode_row, row_at, rows, table_bytes},
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const BLOCKS: usize = 8;
const LAUNCHES: usize = 12;
const WORDS: usize = BLOCKS * 32;
/// More than the launches before the last may take when they are run from the inputs.
const DEAR: u32 = 100_000;

/// A kernel of `body` over 8 blocks of 32 threads that goes from `x` to `y`, which are swapped after each of 12 launches;
/// `%i` is the thread's number, `%x` and `%y` are the addresses of its words. `z` is 8 bytes that are no argument.
fn walk(body: &str) -> (Bench, Program) {
    let text = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.global .align 4 .u32 g[4];\n\
         .visible .entry k(.param .u64 px, .param .u64 py)\n{{\n\
         .reg .b64 %x, %y, %x0, %y0, %at; .reg .b32 %i, %b, %t, %v; .reg .pred %p; .reg .f32 %f;\n\
         mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mad.lo.u32 %i, %b, 32, %t;\n\
         ld.param.u64 %x0, [px]; ld.param.u64 %y0, [py];\n\
         mad.wide.u32 %x, %i, 4, %x0; mad.wide.u32 %y, %i, 4, %y0;\n{body}\nret;\n}}\n"
    );
    let bench = Bench::new(&text, "k").grid([BLOCKS as u32, 1, 1], [32, 1, 1]);
    let start: Vec<u32> = (0..WORDS as u32).map(|n| n * 7 + 1).collect();
    let mut bench = bench.buffer(bytes_of_u32(&start)).buffer(vec![0; WORDS * 4]);
    bench.buffers.push(vec![7; 8]);
    let mut program = bench.program();
    let launch = program.phases[0].steps[0].clone();
    program.phases = vec![Phase { times: LAUNCHES as u32, steps: vec![launch, Step::Swap { a: 0, b: 1 }] }];
    for (n, buffer) in program.buffers.iter_mut().enumerate() {
        buffer.output = n == 0;
    }
    program.buffers[1].init = Init::Zero;
    (bench, program)
}

/// y = x * x + i, after a loop that makes the launch dear.
fn squares() -> (Bench, Program) {
    walk(&format!("mov.u32 %v, 0;\nL: add.u32 %v, %v, 1; setp.lt.u32 %p, %v, {DEAR}; @%p bra L;\n{SQUARE}"))
}

const SQUARE: &str = "ld.global.u32 %v, [%x]; mad.lo.u32 %v, %v, %v, %i; st.global.u32 [%y], %v;";

/// What a provider holds: the blob, its commitment, and what it delivers of `x`.
struct Claim {
    kept: Kept,
    blob: Vec<u8>,
    delivered: Vec<u8>,
}

/// As a provider does it that says what it likes after each launch: `x` goes on from what it says.
fn claim(program: &Program, start: &[u32], mut after: impl FnMut(usize, &mut [u32])) -> Claim {
    let (mut x, mut table, mut contents) = (start.to_vec(), Vec::new(), Vec::new());
    let mut places = [0, 1, 2].map(Place::Initial);
    let first = table_bytes(program, 1);
    for launch in 0..LAUNCHES {
        x.iter_mut().enumerate().for_each(|(i, x)| *x = x.wrapping_mul(*x).wrapping_add(i as u32));
        after(launch, &mut x);
        if launch + 1 < LAUNCHES {
            places[1] = places[0];
            places[0] = Place::At(first + contents.len() as u64);
            contents.extend(bytes_of_u32(&x));
            table.extend(encode_row(&places));
        }
    }
    Claim::of(1, [table, contents].concat(), bytes_of_u32(&x))
}

impl Claim {
    fn of(every: u64, blob: Vec<u8>, delivered: Vec<u8>) -> Self {
        let kept = Kept { every, blob: BlobHash::of(&blob), bytes: Bytes(blob.len() as u64) };
        Claim { kept, blob, delivered }
    }
}

fn check(bench: &Bench, program: &Program, claim: &Claim, blocks: &[BlockAt]) -> Finding {
    check_counted(bench, program, claim, blocks, &AtomicU64::new(0))
}

fn check_counted(
    bench: &Bench,
    program: &Program,
    claim: &Claim,
    blocks: &[BlockAt],
    read_of_states: &AtomicU64,
) -> Finding {
    let loaded = bench.load(program.clone()).unwrap();
    let mut read = |origin, from: u64, into: &mut [u8]| {
        let all = match origin {
            Origin::Input(buffer) => &bench.buffers[usize::from(buffer)],
            Origin::Output(0) => &claim.delivered,
            Origin::Output(other) => panic!("{other} is no output"),
            Origin::States => {
                read_of_states.fetch_add(into.len() as u64, Relaxed);
                &claim.blob
            }
        };
        into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
        Ok(())
    };
    replay_between(&loaded, &claim.kept, blocks, &LIMITS, &AtomicBool::new(false), &mut read).unwrap()
}

fn all_blocks(kept: &Kept, program: &Program) -> Vec<BlockAt> {
    let (_, blocks) = kept.extent(program);
    kept.locate(program, &(0..blocks).collect::<Vec<_>>())
}

fn recorded(bench: &Bench, program: &Program) -> (Recorded, Vec<u8>) {
    let mut loaded = bench.load(program.clone()).unwrap();
    loaded.keep_states();
    let mut backend = CpuBackend::default();
    let report = backend.run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {}).unwrap();
    (report.states, report.outputs[0].bytes.to_vec())
}

fn joined(recorded: &Recorded) -> (u64, Vec<u8>) {
    match recorded {
        Recorded::Kept { every, parts } => (*every, parts.iter().flat_map(|part| part.to_vec()).collect()),
        other => panic!("{other:?}"),
    }
}

fn start(bench: &Bench) -> Vec<u32> {
    u32s(&bench.buffers[0])
}

/// What the engine takes down is what a provider commits to that computes the same by itself, byte by byte, and every
/// block of every launch is found right, while from the inputs alone none can be told of.
#[test]
fn an_honest_run_is_equal_in_every_block_of_every_launch() {
    let (bench, program) = squares();
    let honest = claim(&program, &start(&bench), |_, _| {});
    let (recorded, delivered) = recorded(&bench, &program);
    let (every, blob) = joined(&recorded);
    assert_eq!((every, &delivered), (1, &honest.delivered));
    assert!(blob == honest.blob, "the engine writes another blob");
    let all = all_blocks(&honest.kept, &program);
    assert_eq!(all.len(), LAUNCHES * BLOCKS);
    // Of each block what it wrote, 128 bytes; and of the buffer that it read, which is compared whole and is known
    // after the launch too, 1024 for each launch but the last.
    let bytes = Bytes((all.len() * 128 + (LAUNCHES - 1) * 1024) as u64);
    assert_eq!(check(&bench, &program, &honest, &all), Finding::EqualBetween { blocks: all, bytes });
    let loaded = bench.load(program).unwrap();
    let mut read = |_, _, into: &mut [u8]| {
        into.fill(1);
        Ok(())
    };
    let from_inputs = replay(&loaded, &[3], &LIMITS, &AtomicBool::new(false), &mut read).unwrap();
    assert!(matches!(from_inputs, Finding::NotCheckable { .. }), "{from_inputs:?}");
}

/// What is short is run from the inputs, which needs nothing of the provider but the result.
#[test]
fn the_memory_between_launches_is_used_where_what_goes_before_is_long() {
    for ((bench, program), short) in [(walk(SQUARE), true), (squares(), false)] {
        let honest = claim(&program, &start(&bench), |_, _| {});
        let loaded = bench.load(program).unwrap();
        let asked = AtomicU64::new(0);
        let mut read = |origin, from: u64, into: &mut [u8]| {
            let all = match origin {
                Origin::Input(buffer) => &bench.buffers[usize::from(buffer)],
                Origin::Output(_) => &honest.delivered,
                Origin::States => {
                    asked.fetch_add(1, Relaxed);
                    &honest.blob
                }
            };
            into.copy_from_slice(&all[from as usize..from as usize + into.len()]);
            Ok(())
        };
        let picks = [BlockAt { launch: 4, block: 2 }];
        let cancel = AtomicBool::new(false);
        let found =
            replay_either(&loaded, &[3], (&honest.kept, &picks), &LIMITS, &cancel, &mut read).unwrap();
        match found {
            Finding::Equal { .. } => assert!(short && asked.load(Relaxed) == 0),
            Finding::EqualBetween { blocks, .. } => assert!(!short && blocks == picks),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lie_in_the_middle_that_all_later_follows_from_is_found_in_its_launch_only() {
    let (bench, program) = squares();
    let lie = claim(&program, &start(&bench), |launch, x| {
        if launch == 5 {
            x[100] ^= 4;
        }
    });
    let at = |launch, block| BlockAt { launch, block };
    match check(&bench, &program, &lie, &[at(2, 3), at(5, 3), at(7, 3)]) {
        Finding::Differs(d) => {
            assert_eq!((d.launch, d.block, d.buffer.as_str(), d.offset), (5, Some([3, 0, 0]), "b0", 400));
            assert_eq!(d.expected ^ d.found, 4);
        }
        other => panic!("{other:?}"),
    }
    let others: Vec<_> =
        all_blocks(&lie.kept, &program).into_iter().filter(|pick| *pick != at(5, 3)).collect();
    assert!(matches!(check(&bench, &program, &lie, &others), Finding::EqualBetween { .. }));
}

/// A provider that falsifies each block of each launch with the chance `share`, and goes on from what it has falsified,
/// is caught by s blocks as often as 1 - (1 - share)^s says, within three standard deviations.
#[test]
fn the_catch_rate_between_launches_is_what_it_must_be() {
    const TRIALS: u32 = 300;
    // Always the same: three deviations are left by chance alone once in 370 times.
    let seed = 11;
    let mut rng = fastrand::Rng::with_seed(seed);
    let (bench, program) = walk(SQUARE);
    for (share, samples) in [(0.03, 4), (0.1, 1), (0.1, 8), (0.5, 2), (1.0, 1)] {
        let mut caught = 0;
        for _ in 0..TRIALS {
            let claim = claim(&program, &start(&bench), |_, x| {
                for block in 0..BLOCKS {
                    if rng.f64() < share {
                        x[block * 32 + rng.usize(0..32)] ^= 1 << rng.u8(0..32);
                    }
                }
            });
            let mut drawn = all_blocks(&claim.kept, &program);
            rng.shuffle(&mut drawn);
            match check(&bench, &program, &claim, &drawn[..samples]) {
                Finding::Differs(_) => caught += 1,
                Finding::EqualBetween { blocks, .. } => assert_eq!(blocks.len(), samples),
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        let expected = 1.0 - (1.0 - share).powi(samples as i32);
        let deviation = (expected * (1.0 - expected) / f64::from(TRIALS)).sqrt();
        let rate = f64::from(caught) / f64::from(TRIALS);
        eprintln!("share {share}, {samples} blocks: caught {rate:.3}, expected {expected:.3} (seed {seed})");
        assert!((rate - expected).abs() <= 3.0 * deviation + 1e-9, "share {share}, {samples}, seed {seed}");
    }
}

/// With rows every third launch, those in between are run whole.
#[test]
fn launches_between_two_rows_are_run_whole() {
    // Not swapped: one buffer goes on from itself.
    let (bench, mut program) = walk(&SQUARE.replace("%y", "%x"));
    program.phases[0].steps.pop();
    let every = 3;
    let build = |lie: Option<usize>| {
        let (mut x, mut table, mut contents) = (start(&bench), Vec::new(), Vec::new());
        for launch in 0..LAUNCHES {
            x.iter_mut().enumerate().for_each(|(i, x)| *x = x.wrapping_mul(*x).wrapping_add(i as u32));
            if lie == Some(launch) {
                x[40] ^= 1;
            }
            if (launch as u64 + 1).is_multiple_of(every) && launch + 1 < LAUNCHES {
                table.extend(encode_row(&[
                    Place::At(table_bytes(&program, every) + contents.len() as u64),
                    Place::Initial(1),
                    Place::Initial(2),
                ]));
                contents.extend(bytes_of_u32(&x));
            }
        }
        let blob = [table, contents].concat();
        Claim::of(every, blob, bytes_of_u32(&x))
    };
    let honest = build(None);
    let all = all_blocks(&honest.kept, &program);
    assert_eq!(
        all.iter().map(|at| at.launch).collect::<Vec<_>>()[..],
        [[2; 8], [5; 8], [8; 8], [11; 8]].concat()
    );
    assert!(
        matches!(check(&bench, &program, &honest, &all), Finding::EqualBetween { blocks, .. } if blocks == all)
    );
    // A lie between two rows is seen at the next, in the block that it is in.
    for lie in [3, 4, 5] {
        match check(&bench, &program, &build(Some(lie)), &all) {
            Finding::Differs(d) => assert_eq!((d.launch, d.block), (5, Some([1, 0, 0])), "lie {lie}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_what_the_blocks_touch_is_read() {
    let (mut bench, mut program) = walk(SQUARE);
    // 2 MiB a buffer, of which a block touches 128 bytes.
    let words = 1 << 19;
    bench.buffers[0] = bytes_of_u32(&vec![3; words]);
    for buffer in &mut program.buffers[..2] {
        (buffer.bytes, buffer.shape) = (Bytes(words as u64 * 4), vec![words as u64 * 4]);
    }
    program.buffers[0].init = Init::Blob(BlobHash::of(&bench.buffers[0]));
    let honest = claim(&program, &start(&bench), |_, x| x[WORDS..].fill(3));
    let read = AtomicU64::new(0);
    let at = BlockAt { launch: 4, block: 2 };
    let found = check_counted(&bench, &program, &honest, &[at], &read);
    assert!(matches!(found, Finding::EqualBetween { .. }), "{found:?}");
    // Two rows, and a page of each buffer before and after.
    let read = read.load(Relaxed);
    assert!(read <= 2 * 24 + 4 * 16_384, "{read} of {} bytes", honest.blob.len());
}

#[test]
fn what_is_no_memory_of_the_program_is_told_and_never_panics() {
    let (bench, program) = walk(SQUARE);
    let why = |claim: &Claim, launch| match check(&bench, &program, claim, &[BlockAt { launch, block: 1 }]) {
        Finding::Withheld { why } => why,
        other => panic!("{other:?}"),
    };
    let honest = || claim(&program, &start(&bench), |_, _| {});
    let mut wild = honest();
    let (from, _) = row_at(&program, 3);
    wild.blob[from as usize + 7] = 0x7f;
    assert!(why(&wild, 3).starts_with("its table is wrong: buffer `b0` at "), "{}", why(&wild, 3));
    assert!(why(&wild, 4).starts_with("its table is wrong"));
    // `b2` is no argument of any launch.
    let mut moved = honest();
    let first = table_bytes(&program, 1);
    moved.blob[from as usize + 16..from as usize + 24].copy_from_slice(&first.to_le_bytes());
    assert_eq!(why(&moved, 3), "it changes `b2`, which launch 3 cannot write");
    let mut other = honest();
    other.kept.every = 0;
    assert_eq!(why(&other, 3), "it is not of this program");
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let truth = honest();
    for round in 0..300 {
        let mut random = honest();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(0..random.blob.len());
            random.blob[at] ^= 1 << rng.u8(0..8);
        }
        let picks: Vec<BlockAt> =
            (0..rng.usize(0..5)).map(|_| BlockAt { launch: rng.u64(0..14), block: rng.u64(0..10) }).collect();
        if let Finding::Differs(d) = check(&bench, &program, &random, &picks) {
            assert!(random.blob != truth.blob, "round {round}, seed {seed}: {d}");
        }
    }
}

#[test]
fn blocks_that_read_what_others_write_are_passed_over() {
    // Each block also reads the word after its last, in the buffer that it writes.
    let (bench, program) = walk(
        "ld.global.u32 %v, [%x]; setp.lt.u32 %p, %i, 255; @%p ld.global.u32 %t, [%y+4]; \
         add.u32 %v, %v, %t; st.global.u32 [%y], %v;",
    );
    let (recorded, delivered) = recorded(&bench, &program);
    let (every, blob) = joined(&recorded);
    let honest = Claim::of(every, blob, delivered);
    let picks = [BlockAt { launch: 2, block: 2 }, BlockAt { launch: 7, block: 4 }];
    match check(&bench, &program, &honest, &picks) {
        Finding::NotCheckable { why } => assert!(why.contains("which another block wrote"), "{why}"),
        Finding::EqualBetween { .. } => panic!("what others wrote was not seen"),
        other => panic!("an honest provider is accused: {other:?}"),
    }
}

#[test]
fn what_cannot_be_checked_by_blocks_is_not_taken_down_and_says_why() {
    for (body, expected) in [
        ("red.global.add.u32 [%y0], 1;", "none of the kernels gives the same bits"),
        ("st.global.u32 [g], %i;", "may write variables of its module"),
    ] {
        let (mut bench, program) = walk(body);
        bench.racy = true;
        match recorded(&bench, &program).0 {
            Recorded::EndsOnly(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    let (bench, mut program) = walk(SQUARE);
    program.phases[0].times = 1;
    assert!(matches!(recorded(&bench, &program).0, Recorded::EndsOnly(why) if why.contains("too short")));
    let loaded = bench.load(program).unwrap();
    let report = CpuBackend::default().run(loaded, &LIMITS, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(report.states, Recorded::NotAsked);
}

/// However much each launch changes, what is taken down stays within its room, and every row is of its launch.
#[test]
fn rows_are_forgotten_until_they_can_be_afforded() {
    let (bench, mut program) = walk(SQUARE);
    let launches = 1_000u32;
    program.phases[0].times = launches;
    let len = 100_000u64;
    for buffer in &mut program.buffers[..2] {
        (buffer.bytes, buffer.init, buffer.shape) = (Bytes(len), Init::Zero, vec![len]);
    }
    let mut loaded: LoadedProgram = bench.load(program.clone()).unwrap();
    loaded.keep_states();
    let began = std::time::Instant::now();
    let mut recorder = Recorder::new(&loaded).unwrap();
    let (mut copied, mut launched) = (0, 0u32);
    for step in loaded.steps() {
        match step {
            Step::Launch(launch) => {
                give(&mut recorder, launch, |name| {
                    copied += len;
                    Ok(vec![if name == 0 { launched as u8 } else { 0xff }; len as usize])
                });
                launched += 1;
            }
            Step::Swap { a, b } => recorder.swap(*a, *b),
        }
    }
    // As long as the machine is as quick at the end as it was on the way.
    let allowed = 2 * (FREE_BYTES + began.elapsed().as_millis() as u64 * 12_500);
    assert!(copied <= allowed, "{copied} of {allowed} bytes were copied");
    let (every, blob) = joined(&recorder.finish());
    assert!(every.is_power_of_two() && every > 1, "{every}");
    assert!(rows(&program, every) > 0 && blob.len() as u64 <= allowed + table_bytes(&program, every));
    for row in 0..rows(&program, every) {
        let (from, len_of_row) = row_at(&program, row);
        let bytes = &blob[from as usize..(from + len_of_row) as usize];
        let places = decode_row(&program, bytes, Bytes(blob.len() as u64)).unwrap();
        let Place::At(at) = places[0] else { panic!("it was written") };
        assert_eq!(blob[at as usize], ((row + 1) * every) as u8, "row {row} of every {every}");
        assert_eq!(places[2], Place::Initial(2), "no launch writes it");
    }
}

fn give<'a>(
    recorder: &mut Recorder<'a>,
    launch: &'a Launch,
    mut read: impl FnMut(u16) -> Result<Vec<u8>, Fault>,
) {
    recorder.launch(launch, |n| Ok(read(n)?.as_slice().into())).unwrap();
}

/// Each thread traps where the first word is `BAD`, so that one false word makes all blocks of the launches after it fault.
const GUARDED: &str = "ld.global.u32 %t, [%x0]; setp.eq.u32 %p, %t, 0xbad; @%p trap;\n\
                       ld.global.u32 %v, [%x]; mad.lo.u32 %v, %v, %v, %i; st.global.u32 [%y], %v;";
const BAD: u32 = 0xbad;

/// The same after a loop that makes the launch dear.
fn guarded() -> (Bench, Program) {
    walk(&format!("mov.u32 %v, 0;\nL: add.u32 %v, %v, 1; setp.lt.u32 %p, %v, {DEAR}; @%p bra L;\n{GUARDED}"))
}

/// One false word after launch `from`, and not a launch run from then on: what is committed to is made up.
fn skipped(bench: &Bench, program: &Program, from: usize) -> Claim {
    claim(program, &start(bench), |launch, x| {
        if launch >= from {
            x[0] = BAD;
        }
        if launch > from {
            x[1..].fill(launch as u32);
        }
    })
}

#[test]
fn memory_that_makes_blocks_fault_is_as_good_as_false() {
    let at = |launch, block| BlockAt { launch, block };
    let (bench, program) = guarded();
    let honest = claim(&program, &start(&bench), |_, _| {});
    let all = all_blocks(&honest.kept, &program);
    assert!(matches!(check(&bench, &program, &honest, &all), Finding::EqualBetween { .. }));
    let lie = skipped(&bench, &program, 9);
    // The block that lied is of the number that was drawn.
    match check(&bench, &program, &lie, &[at(11, 0)]) {
        Finding::Differs(d) => assert_eq!((d.launch, d.block, d.offset), (9, Some([0, 0, 0]), 0)),
        other => panic!("{other:?}"),
    }
    // It is not: the first launch that faults is named, and with what was right before it nobody is proven to have lied.
    for pick in [at(10, 5), at(11, 7)] {
        match check(&bench, &program, &lie, &[at(1, 2), pick]) {
            Finding::Faulted { launch: 10, fault: Fault::Trap { place } } => {
                assert_eq!(place.kernel, "k");
            }
            other => panic!("{pick:?}: {other:?}"),
        }
    }
    // Where the way there is cheap it is run from the inputs, and what comes of it is another than was signed for.
    let (bench, program) = walk(GUARDED);
    match check(&bench, &program, &skipped(&bench, &program, 3), &[at(9, 5)]) {
        Finding::Differs(d) => assert_eq!((d.launch, d.block), (4, Some([5, 0, 0]))),
        other => panic!("{other:?}"),
    }
}

/// A provider whose device does not see the fault has run it all the same.
#[test]
fn a_program_that_faults_by_itself_accuses_nobody() {
    let trap = |when: &str| format!("ld.global.u32 %t, [%x0]; {when} @%p trap;\n");
    // In every launch, dear; and in all but the first, where it is cheap to see.
    let dear = format!("mov.u32 %v, 0;\nL: add.u32 %v, %v, 1; setp.lt.u32 %p, %v, {DEAR}; @%p bra L;\n");
    for body in [
        format!("{dear}{}{SQUARE}", trap("setp.ge.u32 %p, %i, 160;")),
        format!("{}{SQUARE}", trap("setp.ne.u32 %p, %t, 8;").replace("x0]", "x0+4]")),
    ] {
        let (bench, program) = walk(&body);
        let honest = claim(&program, &start(&bench), |_, _| {});
        match check(&bench, &program, &honest, &[BlockAt { launch: 8, block: 6 }]) {
            Finding::NotCheckable { why } => assert!(why.starts_with("run here it faults: trap"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Blocks that do not end are no proof of anything, but no way past the launch before them.
#[test]
fn memory_that_keeps_blocks_running_sends_the_draw_to_the_launches_before() {
    let endless = "ld.global.u32 %t, [%x0];\nL: setp.eq.u32 %p, %t, 0xbad; @%p bra L;\n";
    let (bench, program) = walk(&format!("{endless}{SQUARE}"));
    let lie = skipped(&bench, &program, 3);
    match check(&bench, &program, &lie, &[BlockAt { launch: 9, block: 0 }]) {
        Finding::Differs(d) => assert_eq!((d.launch, d.block, d.offset), (3, Some([0, 0, 0]), 0)),
        other => panic!("{other:?}"),
    }
}

/// As above, with launches that were never run: whoever draws one of their blocks is not deceived, as often as if they were
/// false.
#[test]
fn the_catch_rate_of_skipped_launches_is_that_of_false_ones() {
    let (bench, program) = guarded();
    let lie = skipped(&bench, &program, 3);
    let all = all_blocks(&lie.kept, &program);
    let passed = all
        .iter()
        .filter(|at| matches!(check(&bench, &program, &lie, &[**at]), Finding::EqualBetween { .. }));
    // Three launches were honest, and seven blocks of the fourth.
    assert_eq!(passed.count(), 3 * BLOCKS + BLOCKS - 1);
}
