//! The binary `ion`.

fn main() -> std::process::ExitCode {
    ion_node::cli::main()
}
