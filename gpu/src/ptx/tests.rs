//! The reader against whole kernels, random changes of good text, and its own print.

mod samples;

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

/// Everything that a sample stands in, with `body` between.
fn around(version: &str, target: u32, body: &str) -> String {
    format!(
        ".version {version}\n.target sm_{target}\n.address_size 64\n.visible .entry k(.param .align 16 .b8 x[64])\n{{\n{}\
         {body}END:\nret;\n}}\n",
        samples::DECLARATIONS
    )
}

/// Every form of the table, in every spelling that it has, is read, and prints as what was read.
#[test]
fn every_form_prints_as_it_was_read() {
    const SEED: u64 = 21;
    let samples = samples::all(&mut fastrand::Rng::with_seed(SEED));
    assert!(samples.len() > 2000, "{}", samples.len());
    for sample in &samples {
        let text = &sample.text;
        let module =
            read(&around("9.0", 90, &format!("{{ .param .align 16 .b8 given[64];\n@!%p7 {text}\n}}\n")));
        let instruction = &module.functions[0].instructions[0];
        assert_eq!((instruction.op, instruction.mods.as_slice()), (sample.op, &sample.mods[..]), "{text}");
        for printed in [print(&module), canonical(&module).text] {
            let again =
                parse(&printed).unwrap_or_else(|r| panic!("seed {SEED}, {text}: {}", r.render(&printed)));
            assert_eq!(print(&again).contains(".rn"), printed.contains(".rn"), "{text}");
            assert_eq!(again.functions[0].operands, module.functions[0].operands, "{text}");
        }
        assert_eq!(read(&print(&module)), module, "{text}");
    }
}

/// NVIDIA's own assembler takes what the table calls PTX, in our print of it. It is no part of this project: the test
/// runs where `$PTXAS` names one.
#[test]
fn every_form_is_taken_by_an_assembler() {
    let Some(ptxas) = std::env::var_os("PTXAS") else {
        eprintln!("skipped: $PTXAS names no assembler");
        return;
    };
    let samples = samples::all(&mut fastrand::Rng::with_seed(22));
    let mut left: Vec<&samples::Sample> = samples.iter().collect();
    // Some forms are for old devices only, some for new ones.
    for (version, target) in [("9.0", 90), ("9.0", 100), ("6.2", 61)] {
        left = refused(&ptxas, version, target, &left);
    }
    for sample in &left {
        eprintln!("refused: {}", sample.text);
    }
    assert!(left.is_empty(), "{} of {} samples are refused", left.len(), samples.len());
}

/// The samples that the assembler does not take for this target.
fn refused<'a>(
    ptxas: &std::ffi::OsStr,
    version: &str,
    target: u32,
    samples: &[&'a samples::Sample],
) -> Vec<&'a samples::Sample> {
    let mut refused = Vec::new();
    for sample in samples {
        let body = format!("{{ .param .align 16 .b8 given[64];\n{}\n}}\n", sample.text);
        let text = canonical(&read(&around(version, target, &body))).text;
        let file = std::env::temp_dir().join(format!("ion-form-{}.ptx", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let arch = if target < 75 { 75 } else { target };
        let mut command = std::process::Command::new(ptxas);
        command.arg(format!("-arch=sm_{arch}")).arg("-o").arg("/dev/null").arg(&file);
        if !command.output().unwrap().status.success() {
            refused.push(*sample);
        }
    }
    refused
}
