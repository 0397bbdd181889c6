//! The formats byte for byte, names that would leave the directory, and receipts that were tampered with.

use super::*;
use crate::control::api::{SignedParts, SignedReceiptView};
use ion_protocol::{
    Attempt, DocHash, JobId, Millis, NanoIo, Nanos, NetworkId, Signed, UnixMillis,
    check::Check,
    hardware::Engine,
    key::SecretKey,
    limits,
    receipt::{Countersignature, Receipt, Status},
};

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn npy_is_format_1_0_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..24).collect();
    let path = write_from(dir.path(), "y.npy", Element::F32, &[2, 3], &data[..]).unwrap();
    let file = fs::read(path).unwrap();
    let mut expected =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
    expected.resize(127, b' ');
    expected.push(b'\n');
    expected.extend_from_slice(&data);
    assert_eq!(file, expected);
    // One extent is a tuple of one, in Python's way of writing it.
    let one = npy::header(Element::U8, &[7]).unwrap();
    assert!(
        String::from_utf8_lossy(&one).contains("'descr': '|u1'")
            && String::from_utf8_lossy(&one).contains("(7,)")
    );
    assert_eq!(one.len() % 64, 0);
    assert!(npy::header(Element::Bf16, &[7]).is_none());
}

#[test]
fn png_holds_the_pixels() {
    let dir = tempfile::tempdir().unwrap();
    for (shape, color, channels) in [
        (vec![2, 3], png::ColorType::Grayscale, 1),
        (vec![2, 3, 3], png::ColorType::Rgb, 3),
        (vec![2, 3, 4], png::ColorType::Rgba, 4),
    ] {
        let data: Vec<u8> = (0..6 * channels).map(|n| n * 9).collect();
        let path = write_from(dir.path(), "p.png", Element::U8, &shape, &data[..]).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        assert_eq!(bytes[12..24], *b"IHDR\x00\x00\x00\x03\x00\x00\x00\x02");
        let mut reader = png::Decoder::new(io::Cursor::new(bytes)).read_info().unwrap();
        assert_eq!(reader.info().color_type, color);
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, data);
    }
    for (element, shape) in [(Element::F32, vec![2, 3]), (Element::U8, vec![6]), (Element::U8, vec![2, 3, 2])]
    {
        assert!(matches!(Format::Png.check(element, &shape), Err(ShowError::NoPicture)));
    }
}

#[test]
fn results_are_whole_or_absent_and_stay_in_their_directory() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("new/deep");
    let data = [5u8; 8];
    let path = write_from(&dir, "b.bin", Element::U64, &[1], &data[..]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), data);
    // Fewer or more bytes than the buffer has: the older file stays, and nothing is left beside it.
    for wrong in [&[1u8; 7][..], &[1u8; 9][..]] {
        for name in ["b.bin", "b.npy"] {
            let error = write_from(&dir, name, Element::U64, &[1], wrong).unwrap_err();
            assert!(matches!(error, ShowError::Length { expected: 8, .. }), "{error}");
        }
    }
    assert!(matches!(
        write_from(&dir, "b.png", Element::U8, &[2, 2], &[1u8; 5][..]),
        Err(ShowError::Length { .. })
    ));
    assert_eq!(names_in(&dir), ["b.bin"]);
    assert_eq!(fs::read(&path).unwrap(), data);
    // A newer result replaces it; a link of that name is replaced, not followed.
    write_from(&dir, "b.bin", Element::U64, &[1], &[6u8; 8][..]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [6; 8]);
    let outside = root.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    std::os::unix::fs::symlink(&outside, dir.join("l.bin")).unwrap();
    write_from(&dir, "l.bin", Element::U8, &[1], &[1u8][..]).unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    for name in ["../x.bin", "/tmp/x.bin", "a/b.bin", "..", "x.exe", ".bin", ""] {
        assert!(
            matches!(write_from(&dir, name, Element::U8, &[1], &[1u8][..]), Err(ShowError::Name(_))),
            "{name}"
        );
    }
}

#[test]
fn a_directory_that_refuses_is_told() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write_from(&file, "x.bin", Element::U8, &[1], &[1u8][..]).unwrap_err();
    assert!(matches!(error, ShowError::Io { .. }), "{error}");
    fs::create_dir(root.path().join("x.bin")).unwrap();
    assert!(write_from(root.path(), "x.bin", Element::U8, &[1], &[1u8][..]).is_err());
    assert_eq!(names_in(root.path()), ["file", "x.bin"]);
}

/// A receipt both have signed, as the node gives it away.
fn settled(network: &str) -> SignedReceiptView {
    let (provider, requester) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let id = NetworkId::named(network);
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
        device_time: Nanos(2_000_000_000),
        price_per_second: NanoIo(500_000),
        price: NanoIo(1_000_000),
        waited: Millis(1),
        moved: Millis(2),
        ran: Millis(3),
        finished: UnixMillis(4),
        status: Status::Done,
    };
    let receipt = Signed::sign(receipt, &id, &provider);
    let half = Countersignature {
        version: limits::VERSION,
        requester: requester.node_id(),
        provider: provider.node_id(),
        receipt: receipt.hash(),
        price: receipt.price,
        check: Check::NotAsked,
        signed: UnixMillis(5),
    };
    let half = Signed::sign(half, &id, &requester);
    SignedReceiptView {
        network: network.to_owned(),
        receipt: SignedParts::of(receipt.signed()),
        countersignature: Some(SignedParts::of(half.signed())),
    }
}

#[test]
fn an_exported_receipt_proves_itself() {
    let file = ReceiptFile::of(settled("ion")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let proof = ReceiptFile::read(&path).unwrap().verify().unwrap();
    assert!(matches!(proof, Proof::Settled(_)));
    assert_eq!(proof.receipt().body(), &file.shown);
    let alone = ReceiptFile { countersignature: None, ..file };
    assert!(matches!(alone.verify().unwrap(), Proof::ProviderOnly(_)));
}

/// One change to a file.
type Tampering = fn(&mut ReceiptFile);

#[test]
fn a_tampered_receipt_says_why_it_proves_nothing() {
    let good = ReceiptFile::of(settled("ion")).unwrap();
    let cases: [(Tampering, &str); 14] = [
        (|f| f.receipt.body.replace_range(200..202, "ff"), "the provider's half"),
        (
            |f| f.receipt.signature.replace_range(0..2, "00"),
            "the provider's half: the signature does not match; what does not fit: `receipt.signature`;",
        ),
        (
            |f| f.countersignature.as_mut().unwrap().signature.replace_range(0..2, "00"),
            "the requester's half: the signature does not match; what does not fit: `countersignature.signature`",
        ),
        (|f| f.network = "other".to_owned(), "what does not fit: `network`; neither half was signed for"),
        (
            |f| (f.network, f.countersignature) = ("other".to_owned(), None),
            "what does not fit: `network` or `receipt.signature`",
        ),
        (
            |f| f.shown.price = NanoIo(1),
            "`shown.price_nano_io` is not what the provider signed: the file was edited",
        ),
        (
            |f| (f.shown.price, f.shown.ran) = (NanoIo(1), Millis(99)),
            "`shown.price_nano_io`, `shown.ran_ms` are not what the provider signed",
        ),
        (
            |f| f.receipt.body = f.receipt.body.replacen("03030303", "03030304", 1),
            "what does not fit: `receipt.body`, or `shown` with it",
        ),
        (|f| f.receipt.body.push_str("00"), "trailing"),
        (|f| f.receipt.body.push('x'), "the body of the provider's half is not bytes in hexadecimal"),
        (|f| f.receipt.signature.truncate(10), "the signature of the provider's half is not 64 bytes"),
        (
            |f| f.countersignature.as_mut().unwrap().body.push('x'),
            "the body of the requester's half is not bytes in hexadecimal",
        ),
        (
            |f| f.countersignature.as_mut().unwrap().signature.truncate(10),
            "the signature of the requester's half is not 64 bytes",
        ),
        (|f| f.countersignature = Some(f.receipt.clone()), "the requester's half"),
    ];
    for (n, (tamper, why)) in cases.into_iter().enumerate() {
        let mut file = good.clone();
        tamper(&mut file);
        let error = file.verify().expect_err("tampered").to_string();
        assert!(error.contains(why), "case {n}: {error}");
    }
    let mut other = good.clone();
    other.countersignature = settled_by_another_price();
    assert!(other.verify().unwrap_err().to_string().contains("the halves disagree about the"));
}

#[test]
fn a_changed_digit_anywhere_proves_nothing() {
    let good = ReceiptFile::of(settled("ion")).unwrap();
    let changed = |hex: &str, at: usize| {
        let other = if hex[at..=at] == *"0" { "1" } else { "0" };
        [&hex[..at], other, &hex[at + 1..]].concat()
    };
    let parts: [fn(&mut ReceiptFile) -> &mut String; 4] = [
        |f| &mut f.receipt.body,
        |f| &mut f.receipt.signature,
        |f| &mut f.countersignature.as_mut().unwrap().body,
        |f| &mut f.countersignature.as_mut().unwrap().signature,
    ];
    for (n, part) in parts.into_iter().enumerate() {
        let digits = part(&mut good.clone()).len();
        for at in (0..digits).step_by(7) {
            let mut file = good.clone();
            let text = part(&mut file);
            *text = changed(text, at);
            assert!(file.verify().is_err(), "part {n}, digit {at}");
        }
    }
}

#[test]
fn what_one_side_signed_wrongly_proves_nothing() {
    let provider = SecretKey::from_seed(&[1; 32]);
    let with = |change: fn(&mut Receipt)| {
        let mut file = ReceiptFile::of(settled("ion")).unwrap();
        change(&mut file.shown);
        let signed = Signed::sign(file.shown.clone(), &NetworkId::named("ion"), &provider);
        (file.receipt, file.countersignature) = (SignedParts::of(signed.signed()), None);
        file.verify().unwrap_err().to_string()
    };
    let dear = with(|receipt| receipt.price = NanoIo(1_000_001));
    assert!(dear.contains("a price of 0.001000001 IO does not follow"), "{dear}");
    let failed = with(|receipt| receipt.status = Status::Failed(ion_protocol::fault::Fault::Cancelled));
    assert!(failed.contains("does not follow"), "{failed}");
    let newer = with(|receipt| receipt.version = 9);
    assert!(newer.contains("the document has version 9"), "{newer}");
}

#[test]
fn what_is_no_receipt_file_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let read = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        ReceiptFile::read(&path).unwrap_err().to_string()
    };
    let good = serde_json::to_value(ReceiptFile::of(settled("ion")).unwrap()).unwrap();
    let newer = {
        let mut file = good.clone();
        file["ion_receipt"] = 4.into();
        file.to_string()
    };
    let text = good.to_string();
    for (content, why) in [
        (vec![b' '; (1 << 20) + 1], "is larger than any receipt"),
        (vec![0xff, 0xfe], "this is no exported receipt"),
        (Vec::new(), "EOF while parsing"),
        (text.as_bytes()[..text.len() / 2].to_vec(), "EOF while parsing"),
        (text.replace("\"network\"", "\"net\"").into_bytes(), "unknown field `net`"),
        (newer.into_bytes(), "the file has format 4, this binary reads 3"),
    ] {
        let error = read(&content);
        assert!(error.contains(why), "expected `{why}`, found `{error}`");
    }
    // The first format had lists of numbers where there is text now.
    let mut older = good.clone();
    older["ion_receipt"] = 1.into();
    for root in ["input_root", "output_root"] {
        let text = good["shown"][root].as_str().unwrap();
        older["shown"][root] = hex::decode(text).unwrap().into();
    }
    fs::write(&path, older.to_string()).unwrap();
    assert!(ReceiptFile::read(&path).unwrap().verify().is_ok());
    // Before the third, quantities had no unit in their names.
    let mut older = good.clone();
    older["ion_receipt"] = 2.into();
    let shown = older["shown"].as_object_mut().unwrap();
    for (old, new) in [
        ("device_time", "device_time_ns"),
        ("price_per_second", "price_nano_io_per_second"),
        ("price", "price_nano_io"),
        ("waited", "waited_ms"),
        ("moved", "moved_ms"),
        ("ran", "ran_ms"),
        ("finished", "finished_unix_ms"),
    ] {
        let value = shown.remove(new).unwrap();
        shown.insert(old.to_owned(), value);
    }
    fs::write(&path, older.to_string()).unwrap();
    assert!(ReceiptFile::read(&path).unwrap().verify().is_ok());
    let error = ReceiptFile::read(&dir.path().join("absent")).unwrap_err().to_string();
    assert!(error.contains("could not read"), "{error}");
}

/// The requester's half of another receipt.
fn settled_by_another_price() -> Option<SignedParts> {
    let (provider, requester) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let half = Countersignature {
        version: limits::VERSION,
        requester: requester.node_id(),
        provider: provider.node_id(),
        receipt: DocHash([9; 32]),
        price: NanoIo(1_000_000),
        check: Check::NotAsked,
        signed: UnixMillis(5),
    };
    Some(SignedParts::of(Signed::sign(half, &NetworkId::named("ion"), &requester).signed()))
}

#[test]
fn a_transcript_of_another_format_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.json");
    let read = |content: String| {
        fs::write(&path, content).unwrap();
        TranscriptFile::read(&path)
    };
    // Of a newer one nothing is known but its version.
    let error = read(r#"{"ion_challenge":3,"said":[]}"#.to_owned()).unwrap_err().to_string();
    assert!(error.contains("the file has format 3, this binary reads 2"), "{error}");
    let (id, part) = ("ab".repeat(32), serde_json::json!({ "body": "", "signature": "" }));
    let mut file = serde_json::json!({
        "ion_challenge": 1, "network": "ion", "advert": part, "challenge": part, "verdict": part,
        "shown": {
            "version": 1, "challenger": id, "provider": id, "challenge": id, "took": 5,
            "judgement": { "judgement": "passed" }, "signed": 6,
        },
    });
    assert_eq!(read(file.to_string()).unwrap().shown.took, Millis(5), "times had no unit in their names");
    file["shown"]["took"].take();
    assert!(matches!(read(file.to_string()).unwrap_err(), TranscriptFileError::Json(_)));
}
