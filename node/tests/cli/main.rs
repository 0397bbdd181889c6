//! The real binary, asked as a person or a script asks it: exit codes, words, JSON.

mod at_rest;
mod doctor;
mod node_stub;
mod offline;
mod online;
mod signals;

use ion_node::control::api::{SignedParts, SignedReceiptView};
use ion_protocol::{
    Attempt, DocHash, JobId, Millis, NanoIo, Nanos, NetworkId, Signed, UnixMillis, Verified,
    check::Check,
    hardware::Engine,
    key::SecretKey,
    limits,
    receipt::{Countersignature, Receipt, Status},
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output, Stdio},
};

/// What a command left.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program speaks UTF-8");
        let code = output.status.code().expect("it ends by itself");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output as JSON lines.
    fn json(&self) -> Vec<Value> {
        let line = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in {l}"));
        self.out.lines().map(line).collect()
    }

    /// The error on stderr as JSON.
    fn json_error(&self) -> Value {
        serde_json::from_str(self.err.trim()).unwrap_or_else(|e| panic!("{e} in {}", self.err))
    }

    /// Checks that it failed so, with a hint.
    fn failed(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(self.err.contains(words), "expected `{words}` in: {}", self.err);
        assert!(self.err.contains("\n\nhint: "), "no hint in: {}", self.err);
    }
}

/// `ion ARGS` on a data directory of its own.
fn ion_in<A: AsRef<OsStr>>(dir: &Path, args: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ion"));
    command.args(args).env("ION_DATA_DIR", dir).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn ion<A: AsRef<OsStr>>(dir: &Path, args: &[A]) -> Said {
    Said::of(ion_in(dir, args).output().expect("the binary starts"))
}

/// A shipped example.
fn example(name: &str) -> String {
    format!("{}/jobs/{name}/job.toml", env!("CARGO_MANIFEST_DIR"))
}

/// A receipt and the requester's half of it.
fn signed_halves() -> (Verified<Receipt>, Verified<Countersignature>) {
    let (provider, requester) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let network = NetworkId::named("ion");
    let receipt = Receipt {
        version: limits::VERSION,
        provider: provider.node_id(),
        requester: requester.node_id(),
        job: JobId([3; 16]),
        attempt: Attempt(1),
        order: DocHash([4; 32]),
        input_root: [5; 32],
        output_root: [6; 32],
        states: Default::default(),
        device: "NVIDIA H100".to_owned(),
        engine: Engine::Cuda,
        device_time: Nanos(1_000_000_000),
        price_per_second: NanoIo(500_000),
        price: NanoIo(500_000),
        waited: Millis(1),
        moved: Millis(2),
        ran: Millis(3),
        finished: UnixMillis(4),
        status: Status::Done,
    };
    let receipt = Signed::sign(receipt, &network, &provider);
    let half = Countersignature {
        version: limits::VERSION,
        requester: requester.node_id(),
        provider: provider.node_id(),
        receipt: receipt.hash(),
        price: receipt.price,
        check: Check::NotAsked,
        signed: UnixMillis(5),
    };
    let half = Signed::sign(half, &network, &requester);
    (receipt, half)
}

/// A receipt both have signed, as a node gives it away.
fn signed_receipt() -> SignedReceiptView {
    let (receipt, half) = signed_halves();
    SignedReceiptView {
        network: "ion".to_owned(),
        receipt: SignedParts::of(receipt.signed()),
        countersignature: Some(SignedParts::of(half.signed())),
    }
}
