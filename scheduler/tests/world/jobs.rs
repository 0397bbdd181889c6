//! Devices, programs and their results: small, and different enough to be told apart.

use ion_protocol::{
    Bytes, Millis, NanoIo, Nanos,
    deal::InlineBlob,
    hardware::{ComputeCapability, Device, Engine as Gpu, MeasuredPower},
    job::{
        Arg, Buffer, Element, Init, JobLimits, JobSpec, Launch, Module, Needs, Phase, Program, Source, Step,
    },
    receipt::Output,
};
use ion_scheduler::input::WorkReport;

pub fn devices(node: usize) -> Vec<Device> {
    let count = [0, 0, 1, 1, 2][node];
    let device = |index| Device {
        index,
        model: format!("Model {node}"),
        // Those of node 3 and 4 are given jobs ahead.
        engine: if node < 3 { Gpu::CpuInterpreter } else { Gpu::Cuda },
        capability: ComputeCapability { major: 9, minor: 0 },
        memory: Bytes(1 << 30),
        nvrtc: false,
        power: MeasuredPower {
            f32_mflops: 1_000_000 * node as u64,
            memory_mbps: 100_000,
            product_mops: 500_000 * node as u64,
            ..MeasuredPower::default()
        },
    };
    (0..count).map(device).collect()
}

pub fn spec(rng: &mut fastrand::Rng) -> (JobSpec, Vec<InlineBlob>) {
    let text = InlineBlob { bytes: format!(".version 6.0 // {}", rng.u64(0..20)).into_bytes() };
    let input = InlineBlob { bytes: rng.u64(0..20).to_le_bytes().repeat(4) };
    let buffer = |name: &str, init, output| Buffer {
        name: name.to_owned(),
        bytes: Bytes(32),
        init,
        element: Element::F32,
        shape: vec![8],
        output,
    };
    let launch = Launch {
        module: 0,
        kernel: "k".to_owned(),
        grid: [1, 1, 1],
        block: [8, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::Buffer(0), Arg::Buffer(1)],
    };
    let program = Program {
        modules: vec![Module {
            name: "k.ptx".to_owned(),
            source: Source::Ptx,
            blob: text.hash(),
            bytes: Bytes(text.bytes.len() as u64),
        }],
        buffers: vec![buffer("x", Init::Blob(input.hash()), false), buffer("y", Init::Zero, true)],
        phases: vec![Phase { times: 1, steps: vec![Step::Launch(launch)] }],
    };
    let limits = JobLimits { run: Millis(6_000), memory: Bytes(1 << 20), price: NanoIo(1_000_000_000) };
    (JobSpec { name: "monkey".to_owned(), needs: Needs::default(), limits, program }, vec![text, input])
}

/// What a program truly gives.
pub fn result(spec: &JobSpec) -> InlineBlob {
    InlineBlob { bytes: spec.input_root().to_vec() }
}

pub fn report(spec: &JobSpec, time: u64, lies: bool) -> WorkReport {
    let mut blob = result(spec);
    blob.bytes[0] ^= u8::from(lies);
    let outputs = vec![Output { buffer: 1, bytes: Bytes(32), hash: blob.hash() }];
    WorkReport {
        outputs,
        inline: if time.is_multiple_of(2) { vec![blob] } else { Vec::new() },
        device: "Model".to_owned(),
        engine: Gpu::CpuInterpreter,
        device_time: Nanos(time * 900_000),
        ran: Millis(time),
        states: Default::default(),
        printed: String::new(),
    }
}
