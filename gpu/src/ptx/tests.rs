//! The reader against whole kernels, random changes of good text, and its own print.

use super::*;

const KERNELS: [(&str, &str); 6] = [
    ("saxpy", include_str!("../../kernels/saxpy.ptx")),
    ("matmul", include_str!("../../kernels/matmul.ptx")),
    ("mandelbrot", include_str!("../../kernels/mandelbrot.ptx")),
    ("reduction", include_str!("../../kernels/reduction.ptx")),
    ("histogram", include_str!("../../kernels/histogram.ptx")),
    ("hostile", include_str!("../../kernels/hostile.ptx")),
];

fn read(text: &str) -> Module {
    parse(text).unwrap_or_else(|refusal| panic!("{}", refusal.render(text)))
}

#[test]
fn printed_kernels_read_as_the_same_module() {
    for (name, text) in KERNELS {
        let module = read(text);
        let again = read(&print(&module));
        assert_eq!(module, again, "{name}");
        assert_eq!(print(&module), print(&again), "{name}");
        let canonical_text = canonical(&module).text;
        assert_eq!(canonical(&read(&canonical_text)).text, canonical_text, "{name}");
    }
}
