//! Whether a PTX file would be run, and what is in it: `cargo run -p ion-gpu --example ptx_check -- FILE`.

use ion_gpu::ptx;

fn main() {
    for file in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                continue;
            }
        };
        match ptx::inspect(&text) {
            Ok(inspection) => print!("{file}: {inspection}"),
            Err(refusal) => eprintln!("{file}: {}", refusal.render(&text)),
        }
    }
}
