//! What our programs cost beside bare loops of the driver's calls.

use crate::{LIMITS, Size};
use ion_gpu::{
    backend::Backend,
    cuda::{
        CudaBackend,
        bare::{self, Host, Loop},
    },
    program::{LoadedProgram, Sources, no_compiler},
};
use ion_protocol::{
    BlobHash, Bytes,
    fault::Fault,
    job::{Arg, Buffer, Element, Init, Launch, Module, Phase, Program, Source, Step},
    units::measured,
};
use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// Multiply-adds one after the other, as many as it is told.
const SPIN: &str = ".version 6.5\n.target sm_75\n.address_size 64\n\
    .visible .entry spin(.param .u64 out, .param .u32 turns)\n{\n\
    .reg .pred %p; .reg .b32 %n, %t, %b; .reg .f32 %f; .reg .b64 %o;\n\
    ld.param.u32 %n, [turns]; ld.param.u64 %o, [out]; mov.f32 %f, 0f3F000000;\n\
    L: fma.rn.f32 %f, %f, 0f3F7FF000, 0f3A000000; sub.u32 %n, %n, 1; setp.ne.u32 %p, %n, 0; @%p bra L;\n\
    mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mad.lo.u32 %t, %b, 128, %t; mad.wide.u32 %o, %t, 4, %o;\n\
    st.global.f32 [%o], %f; ret;\n}\n";
const GRID: u32 = 8;
const BLOCK: u32 = 128;
const BYTES: u64 = (GRID * BLOCK * 4) as u64;
/// A program may cost so much more than the bare loop.
const OVERHEAD_MAX: f64 = 0.02;
/// Our copies move so much of what bare ones do.
const COPIES_MIN: f64 = 0.9;
/// Loops are timed so often, ours and the bare one in turn.
const ROUNDS: usize = 3;

/// Takes all figures, says them, and whether they are reached.
pub fn all(card: &mut CudaBackend, ordinal: u32, size: &Size, real: bool) -> bool {
    let figures = [overhead(card, ordinal, size), copies(card, ordinal, size)];
    let mut reached = true;
    for figure in figures {
        match figure {
            Ok((text, good)) => {
                let verdict = match (real, good) {
                    (false, _) => "imitation: not judged",
                    (true, true) => "reached",
                    (true, false) => "MISSED",
                };
                println!("{text}: {verdict}");
                reached &= good;
            }
            Err(fault) => {
                println!("a figure could not be taken: {fault}");
                reached = false;
            }
        }
    }
    reached
}

fn spin(turns: u32, times: u32) -> Result<LoadedProgram, Fault> {
    let launch = Launch {
        module: 0,
        kernel: "spin".into(),
        grid: [GRID, 1, 1],
        block: [BLOCK, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(0), Arg::Scalar { element: Element::U32, bits: turns.into() }],
    };
    let out = Buffer {
        name: "out".into(),
        bytes: Bytes(BYTES),
        init: Init::Zero,
        element: Element::F32,
        shape: vec![BYTES / 4],
        output: true,
    };
    let (blob, bytes) = (BlobHash::of(SPIN.as_bytes()), Bytes(SPIN.len() as u64));
    let module = Module { name: "spin.ptx".into(), source: Source::Ptx, blob, bytes };
    let phases = vec![Phase { times, steps: vec![Step::Launch(launch)] }];
    let program = Program { modules: vec![module], buffers: vec![out], phases };
    let mut text = |_, _| Ok(SPIN.as_bytes().into());
    LoadedProgram::load(program, &LIMITS, &mut Sources { blob: &mut text, compile: &mut no_compiler })
}

/// Wall time of a program once it is loaded, and what its launches took on the device.
fn timed(card: &mut CudaBackend, turns: u32, times: u32) -> Result<(Duration, Duration), Fault> {
    let program = spin(turns, times)?;
    let began = Instant::now();
    let report = card.run(program, &LIMITS, &AtomicBool::new(false), &mut |_| {})?;
    Ok((began.elapsed(), Duration::from_nanos(report.device_time.0)))
}

/// As many turns as make a launch as long as is wanted.
fn turns(card: &mut CudaBackend, ms: f64) -> Result<u32, Fault> {
    let mut turns = 1_000u32;
    loop {
        let (_, device) = timed(card, turns, 2)?;
        let found = device.as_secs_f64() * 1e3 / 2.0;
        let wanted = f64::from(turns) * ms / found.max(1e-3);
        if found * 4.0 > ms {
            return Ok(wanted as u32);
        }
        turns = (wanted.min(f64::from(turns) * 16.0)) as u32;
    }
}

fn overhead(card: &mut CudaBackend, ordinal: u32, size: &Size) -> Result<(String, bool), Fault> {
    let turns = turns(card, size.launch_ms)?;
    let bytes = BYTES as usize;
    let (ptx, grid, block, times) = (SPIN, GRID, BLOCK, size.launches);
    let bare = Loop { ptx, kernel: "spin", grid, block, bytes, number: turns, times };
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        theirs = theirs.min(bare::launches(ordinal, &bare)?);
        ours = ours.min(timed(card, turns, times)?.0);
    }
    let more = ours.as_secs_f64() / theirs.as_secs_f64() - 1.0;
    let text = format!(
        "a program of {times} launches of {:.2} ms: {ours:.2?}, a bare loop {theirs:.2?}, {:+.2} % (at most {} %)",
        theirs.as_secs_f64() * 1e3 / f64::from(times),
        more * 100.0,
        OVERHEAD_MAX * 100.0
    );
    Ok((text, more < OVERHEAD_MAX))
}

/// What moving a program's bytes adds to its time: with so many as input, and as output.
fn moved(card: &mut CudaBackend, bytes: u64) -> Result<[Duration; 2], Fault> {
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (best, [input, output]) in best.iter_mut().zip([[4096, 4096], [bytes, 4096], [4096, bytes]]) {
            let program = touch(input, output)?;
            let began = Instant::now();
            let report = card.run(program, &LIMITS, &AtomicBool::new(false), &mut |_| {})?;
            *best = (*best).min(began.elapsed());
            drop(report);
        }
    }
    Ok([best[1].saturating_sub(best[0]), best[2].saturating_sub(best[0])])
}

/// A launch that writes a word of the output, beside an input that is there.
fn touch(input: u64, output: u64) -> Result<LoadedProgram, Fault> {
    let content = vec![1u8; input as usize];
    let buffer = |name: &str, bytes, init, output| Buffer {
        name: name.into(),
        bytes: Bytes(bytes),
        init,
        element: Element::U8,
        shape: vec![bytes],
        output,
    };
    let given = BlobHash([1; 32]);
    let buffers =
        vec![buffer("in", input, Init::Blob(given), false), buffer("out", output, Init::Zero, true)];
    let launch = Launch {
        module: 0,
        kernel: "spin".into(),
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(1), Arg::Scalar { element: Element::U32, bits: 1 }],
    };
    // The input is only copied for a launch that names it.
    let with_input = Launch { args: vec![Arg::Buffer(0), launch.args[1]], ..launch.clone() };
    let (blob, bytes) = (BlobHash::of(SPIN.as_bytes()), Bytes(SPIN.len() as u64));
    let module = Module { name: "spin.ptx".into(), source: Source::Ptx, blob, bytes };
    let steps = vec![Step::Launch(with_input), Step::Launch(launch)];
    let program = Program { modules: vec![module], buffers, phases: vec![Phase { times: 1, steps }] };
    let mut blobs = |hash, _| Ok(if hash == given { &*content } else { SPIN.as_bytes() }.into());
    LoadedProgram::load(program, &LIMITS, &mut Sources { blob: &mut blobs, compile: &mut no_compiler })
}

fn copies(card: &mut CudaBackend, ordinal: u32, size: &Size) -> Result<(String, bool), Fault> {
    let ours = moved(card, size.copy as u64)?;
    let plain = bare::copies(ordinal, size.copy, Host::Plain)?;
    let pinned = bare::copies(ordinal, size.copy, Host::Pinned)?;
    let rate = |time: Duration| size.copy as f64 / time.as_secs_f64() / 1e9;
    let shares = [0, 1].map(|n| rate(ours[n]) / rate(plain[n]));
    let line = |n: usize, way: &str| {
        format!(
            "{way} the device {} GB/s, bare {} GB/s ({:.0} %), bare from pinned memory {} GB/s",
            measured(rate(ours[n])),
            measured(rate(plain[n])),
            shares[n] * 100.0,
            measured(rate(pinned[n]))
        )
    };
    let text = format!(
        "a program's bytes go {}; {} (at least {:.0} % of bare)",
        line(0, "to"),
        line(1, "from"),
        COPIES_MIN * 100.0
    );
    Ok((text, shares.iter().all(|share| *share >= COPIES_MIN)))
}
