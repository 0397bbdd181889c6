//! The binary `ion`: the node and its command line, and, as `ion worker`, the child in which foreign kernels run.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    // A worker starts with nothing of the node: no runtime, no flags, no log.
    let mut args = env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == "worker") {
        let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
        return ion_gpu::worker::main(&args);
    }
    ion_node::cli::main()
}
