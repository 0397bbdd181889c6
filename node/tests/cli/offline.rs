//! What needs no node: usage, manifests, keys, proofs, PTX, completions.

use super::{Said, example, ion, ion_in, signed_receipt};
use ion_node::show::ReceiptFile;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

const VERBS: [&str; 19] = [
    "doctor",
    "fetch",
    "node",
    "status",
    "devices",
    "offers",
    "run",
    "jobs",
    "cancel",
    "why",
    "events",
    "receipts",
    "key",
    "exec",
    "ptx",
    "stop",
    "challenge",
    "bench",
    "completions",
];

#[test]
fn every_verb_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    let all = ion(dir.path(), &["--help"]);
    assert_eq!((all.code, all.err.as_str()), (0, ""));
    assert!(all.out.contains("Exit codes: 0 done, 1 the job failed, 2 usage"), "{}", all.out);
    for verb in VERBS {
        assert!(all.out.contains(&format!("\n  {verb}")), "{verb} in {}", all.out);
        let help = ion(dir.path(), &[verb, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.out.contains("--data-dir") && help.out.contains("--json"), "{verb}: {}", help.out);
        // Nobody reads lines as wide as a screen.
        let wide = Said::of(ion_in(dir.path(), &[verb, "--help"]).env("COLUMNS", "300").output().unwrap());
        let widest = wide.out.lines().map(|line| line.chars().count()).max().unwrap();
        assert!((60..=110).contains(&widest), "{verb}: {widest}");
    }
    assert!(ion(dir.path(), &["--version"]).out.starts_with("ion "));
}

#[test]
fn mistyped_words_are_understood_and_cost_2() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 20] = [
        (&["node", "--hours", "22-7"], "like `22:00-07:00`"),
        (&["node", "--keep-free", "half"], "like \"20%\" or \"2 GiB\""),
        (&["node", "--light", "--hours", "22:00-07:00"], "cannot be used with"),
        (&["devices", "pause", "first"], "a device's number in `ion devices`"),
        (&["run", "job.toml", "--dryrun"], "--dry-run"),
        (&["node", "--memory-percent", "half"], "a share from 1 to 95"),
        (&["node", "--network", ""], "a name, like"),
        (&["node", "--lihgt"], "--light"),
        (&["run", "job.toml", "--otu", "results"], "a similar argument exists: '--out'"),
        (&["jobs", "--jsno"], "--json"),
        (&["statsu"], "status"),
        (&["node", "--light", "--relay"], "cannot be used with"),
        (&["node", "--light", "--price", "1 IO"], "cannot be used with"),
        (&["node", "--challenge", "often"], "`off`, `auto` or a time"),
        (&["node", "--challenge", "1 ms"], "`off`, `auto` or a time"),
        (&["node", "--relay", "--challenge", "auto"], "cannot be used with"),
        (&["node", "--price", "cheap"], "like \"0.01 IO\""),
        (&["node", "--backend", "metal"], "auto, cuda, cpu"),
        (&["run"], "JOB.toml"),
        (&["node", "--listen", "here"], "`here` given with `--listen`"),
    ];
    for (args, words) in cases {
        ion(dir.path(), args).failed(2, words);
        let mut json = args.to_vec();
        json.push("--json");
        let error = ion(dir.path(), &json).json_error();
        assert_eq!(error["exit"], 2);
        assert!(error["error"].as_str().unwrap().contains(words), "{error}");
    }
    let nothing = ion::<&str>(dir.path(), &[]);
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
    assert!(nothing.err.contains("\n\nhint: "));
}

#[test]
fn a_wrong_manifest_costs_2_and_names_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("job.toml");
    fs::write(&manifest, "name = \"x\"\n[limit]\n").unwrap();
    let path = manifest.to_str().unwrap();
    for verb in ["run", "exec"] {
        let said = ion(dir.path(), &[verb, path]);
        said.failed(2, "job.toml:2:2: found unknown key `limit` in the manifest; expected `limits`");
        said.failed(2, "found no module");
        let error = ion(dir.path(), &[verb, path, "--json"]).json_error();
        assert_eq!(error["mistakes"][0]["line"], 1);
        let mistakes = error["mistakes"].as_array().unwrap();
        assert!(mistakes.len() >= 3, "{error}");
        let hint = |mistake: &Value| mistake["hint"].as_str().is_some_and(|hint| !hint.is_empty());
        assert!(mistakes.iter().all(hint), "{error}");
        let unknown = mistakes.iter().find(|m| m["found"].as_str().unwrap().contains("`limit`")).unwrap();
        assert_eq!((&unknown["line"], &unknown["hint"]), (&2.into(), &"write `limits`".into()));
    }
    ion(dir.path(), &["run", "absent.toml"]).failed(2, "could not read absent.toml");
}

#[test]
fn a_dry_run_checks_without_any_node() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["saxpy", "matmul", "mandelbrot", "heat"] {
        let said = ion(dir.path(), &["run", &example(name), "--dry-run"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("the manifest and its files are right"), "{}", said.out);
        let json = &ion(dir.path(), &["run", &example(name), "--dry-run", "--json"]).json()[0];
        assert_eq!((&json["checked"], &json["spec"]["name"]), (&true.into(), &name.into()));
        assert!(json["explanation"].is_null());
    }
}

#[test]
fn exec_shows_what_was_moved_and_what_each_kernel_took() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = |args: &[&str]| {
        let here = ["exec", &example("heat"), "--backend", "cpu", "--out", out.to_str().unwrap()];
        ion(dir.path(), &[&here[..], args].concat())
    };
    let said = run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    for word in ["on the device", "KiB out (", "warp instructions", "heat    1000 "] {
        assert!(said.out.contains(word), "{word} in {}", said.out);
    }
    let json = &run(&["--json"]).json()[0];
    let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"));
    let [kernel] = &json["kernels"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((&kernel["kernel"], &kernel["launches"]), (&"heat".into(), &1000.into()));
    assert_eq!(
        (kernel["total_ns"].as_u64(), number("moved_out_bytes")),
        (Some(number("device_time_ns")), 16_384)
    );
    assert!(
        number("moved_in_bytes") > 0 && number("moving_in_ns") > 0 && number("moving_out_ns") > 0,
        "{json}"
    );
    assert!(number("warp_instructions") > number("interpreted_warp_instructions"), "{json}");
}

/// A job in CUDA C; where an NVRTC is installed, it runs.
#[test]
fn cuda_c_without_an_nvrtc_is_the_machines_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = "name = \"cu\"\n[[module]]\nfile = \"k.cu\"\n[[buffer]]\nname = \"x\"\nelement = \"f32\"\nshape = 4\n\
                    output = \"x.npy\"\n[[step]]\nkernel = \"one\"\ngrid = 1\nblock = 4\nargs = [{ buffer = \"x\" }]\n";
    fs::write(dir.path().join("job.toml"), manifest).unwrap();
    let source = "extern \"C\" __global__ void one(float* x) { x[threadIdx.x] = 1; }";
    fs::write(dir.path().join("k.cu"), source).unwrap();
    let path = dir.path().join("job.toml");
    let run = |args: &[&str]| {
        let args = [&["exec", path.to_str().unwrap(), "--backend", "cpu", "--out"], args].concat();
        Said::of(ion_in(dir.path(), &args).current_dir(dir.path()).output().expect("the binary starts"))
    };
    let said = run(&["out"]);
    if ion_gpu::cuda::nvrtc_works() {
        return assert_eq!(said.code, 0, "{}", said.err);
    }
    said.failed(3, "module `k.cu` is CUDA C, and there is no NVRTC for it here");
    said.failed(3, "`nvcc -ptx -arch=compute_75`");
    let error = run(&["out", "--json"]).json_error();
    assert_eq!((&error["exit"], said.out.as_str()), (&3.into(), ""));
    assert!(error["hint"].as_str().unwrap().contains("LD_LIBRARY_PATH"), "{error}");
}

#[test]
fn without_a_node_the_way_out_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["status"][..], &["jobs"], &["offers"], &["why", "ab"], &["receipts", "list"], &["stop"]] {
        ion(dir.path(), args).failed(3, "no node is running on");
        let mut json = args.to_vec();
        json.push("--json");
        let said = ion(dir.path(), &json);
        assert_eq!((said.code, said.out.as_str(), said.json_error()["exit"].as_u64()), (3, "", Some(3)));
    }
    ion(dir.path(), &["run", &example("saxpy")]).failed(3, "knows nobody to join through");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    ion(dir.path(), &["key", "new", "--data-dir", file.to_str().unwrap()]).failed(3, "file");
    ion(dir.path(), &["status", "--data-dir", file.to_str().unwrap()]).failed(3, "file");
}

#[test]
fn the_data_directory_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let with = |pairs: &[(&str, &str)]| {
        let mut command = ion_in(dir.path(), &["status"]);
        command
            .env_remove("ION_DATA_DIR")
            .env_remove("XDG_DATA_HOME")
            .env_remove("HOME")
            .envs(pairs.iter().copied());
        Said::of(command.output().unwrap()).err
    };
    assert!(with(&[("HOME", "/nowhere")]).contains("/nowhere/.local/share/ion\n"));
    assert!(with(&[("HOME", "/nowhere"), ("XDG_DATA_HOME", "/xdg")]).contains(" /xdg/ion\n"));
    assert!(
        with(&[("HOME", "/nowhere"), ("XDG_DATA_HOME", "relative")]).contains("/nowhere/.local/share/ion\n")
    );
    assert!(with(&[("HOME", "/nowhere"), ("ION_DATA_DIR", "/own")]).contains(" /own\n"));
    assert!(with(&[]).contains("name one with `--data-dir DIR`"));
}

#[test]
fn keys_are_private_and_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    ion(&dir, &["key", "show"]).failed(3, "there is no key in");
    let new = ion(&dir, &["key", "new"]);
    assert_eq!(new.code, 0, "{}", new.err);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(dir.clone()), mode(dir.join("key"))), (0o700, 0o600));
    assert_eq!(new.out.trim().len(), 64);
    assert_eq!(ion(&dir, &["key", "show"]).out, new.out);
    assert_eq!(ion(&dir, &["key", "show", "--json"]).json()[0]["node"], new.out.trim());
    ion(&dir, &["key", "new"]).failed(3, "never overwritten");
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    ion(&dir, &["key", "show"]).failed(3, "chmod 600");
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.join("key"), "rubbish").unwrap();
    ion(&dir, &["key", "show"]).failed(3, "is damaged");
}

#[test]
fn receipts_are_proven_offline() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = dir.path().join("nobody");
    let path = dir.path().join("receipt.json");
    let verify = |json: &[u8]| {
        fs::write(&path, json).unwrap();
        ion(&nobody, &["receipts", "verify", path.to_str().unwrap()])
    };
    let good = serde_json::to_string(&ReceiptFile::of(signed_receipt()).unwrap()).unwrap();
    let said = verify(good.as_bytes());
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.contains("CUDA: NVIDIA H100") && said.out.contains("the requester owes 0.0005 IO"),
        "{}",
        said.out
    );
    let json = &ion(&nobody, &["receipts", "verify", path.to_str().unwrap(), "--json"]).json()[0];
    assert_eq!(
        (&json["verified"], &json["signed_by"], &json["price_nano_io"]),
        (&true.into(), &"both".into(), &500_000.into())
    );
    verify(good.replacen("\"price_nano_io\":500000", "\"price_nano_io\":400000", 1).as_bytes())
        .failed(1, "the file was edited");
    let mut tampered = ReceiptFile::of(signed_receipt()).unwrap();
    tampered.countersignature.as_mut().unwrap().signature.replace_range(0..4, "0000");
    verify(&serde_json::to_vec(&tampered).unwrap())
        .failed(1, "the requester's half: the signature does not match");
    verify(b"{}").failed(2, "this is no exported receipt");
    verify(b"").failed(2, "this is no exported receipt");
    verify(good.replacen("\"ion_receipt\":3", "\"ion_receipt\":4", 1).as_bytes()).failed(2, "format 4");
    verify(good.replacen('{', "{\"zzz\":1,", 1).as_bytes()).failed(2, "unknown field `zzz`");
    verify(&vec![b' '; 2 << 20]).failed(2, "larger than any receipt");
    ion(&nobody, &["receipts", "verify", "absent.json"]).failed(2, "could not read absent.json");
    assert!(!nobody.exists(), "verifying touches no data directory");
}

#[test]
fn ptx_is_checked_and_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("{}/../gpu/kernels/matmul.ptx", env!("CARGO_MANIFEST_DIR"));
    assert!(ion(dir.path(), &["ptx", "check", &file]).out.contains("matmul(.u32, .u64, .u64, .u64)"));
    assert_eq!(
        ion(dir.path(), &["ptx", "check", &file, "--json"]).json()[0]["kernels"][0]["kernel"],
        "matmul"
    );
    let printed = ion(dir.path(), &["ptx", "print", &file]).out;
    let again = dir.path().join("again.ptx");
    fs::write(&again, &printed).unwrap();
    assert_eq!(
        ion(dir.path(), &["ptx", "print", again.to_str().unwrap()]).out,
        printed,
        "canonical text is its own canon"
    );
    let bad = dir.path().join("bad.ptx");
    fs::write(
        &bad,
        ".version 6.5\n.target sm_75\n.address_size 64\n.visible .entry k()\n{\n\tfrob.u32 %r0;\n}\n",
    )
    .unwrap();
    ion(dir.path(), &["ptx", "check", bad.to_str().unwrap()]).failed(2, "line 6");
}

#[test]
fn completions_name_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let said = ion(dir.path(), &["completions", shell]);
        assert_eq!(said.code, 0);
        assert!(VERBS.iter().all(|verb| said.out.contains(verb)), "{shell}");
    }
    ion(dir.path(), &["completions", "dos"]).failed(2, "bash");
}

#[test]
fn an_error_that_nobody_reads_is_that_error_still() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let code = ion_in(dir.path(), &["status"]).stderr(writer).status().unwrap().code();
    assert_eq!(code, Some(3));
}

#[test]
fn canonical_ptx_comes_as_text_or_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("{}/jobs/heat/heat.ptx", env!("CARGO_MANIFEST_DIR"));
    let text = ion(dir.path(), &["ptx", "print", &file]).out;
    let json = ion(dir.path(), &["ptx", "print", &file, "--json"]).json();
    assert_eq!((&json[0]["ptx"], &json[0]["file"]), (&text.into(), &file.into()));
}

#[test]
fn a_node_says_what_it_offers_and_where_its_files_are() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "node",
        "--backend",
        "cpu",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--challenge",
        "off",
        "--data-dir",
        "mine",
    ];
    let mut command = ion_in(dir.path(), &args);
    let mut node = command.current_dir(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok);
    let offers = lines.find(|line| line.starts_with("offers "));
    let mine = dir.path().join("mine");
    let status = ion(dir.path(), &["status", "--json", "--data-dir", mine.to_str().unwrap()]);
    assert_eq!(ion(dir.path(), &["stop", "--data-dir", mine.to_str().unwrap()]).code, 0);
    lines.for_each(drop);
    assert!(node.wait().unwrap().success());
    let offers = offers.expect("it says so before it ends");
    assert!(
        offers.starts_with("offers CPU: ptx jit (") && offers.ends_with("for 0.0005 IO a second"),
        "{offers}"
    );
    // Whoever asks may be elsewhere.
    let told = status.json()[0]["data_dir"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::canonicalize(&told).unwrap(), std::fs::canonicalize(&mine).unwrap());
    assert!(Path::new(&told).is_absolute(), "{told}");
}
