//! The file that proves a receipt, and every way in which one does not.

use super::*;
use ion_protocol::receipt::ReceiptError;

fn settled_file() -> String {
    let receipt = signed(1);
    export(&network(), receipt.signed(), Some(countersigned(&receipt).signed()))
}

#[test]
fn a_settled_receipt_proves_itself() {
    let report = verify_file(settled_file().as_bytes()).unwrap();
    assert_eq!((report.network, report.hash, &report.receipt), (network(), signed(1).hash(), &receipt(1)));
    assert!(report.is_settled());
    assert_eq!(report.countersignature.unwrap().price, NanoIo(1_000));
    assert!(settled_file().len() < FILE_BYTES_MAX);
}

#[test]
fn a_receipt_of_one_side_says_so() {
    let report = verify_file(export(&network(), signed(1).signed(), None).as_bytes()).unwrap();
    assert!(!report.is_settled());
    assert_eq!(report.receipt, receipt(1));
}

#[test]
fn a_changed_digit_anywhere_proves_nothing() {
    let file = settled_file();
    let digits: Vec<_> = file.char_indices().filter(|(_, c)| c.is_ascii_hexdigit()).collect();
    for (at, digit) in digits.into_iter().step_by(7) {
        let other = if digit == '0' { "1" } else { "0" };
        let changed = [&file[..at], other, &file[at + 1..]].concat();
        assert!(verify_file(changed.as_bytes()).is_err(), "digit {at}");
    }
}

#[test]
fn each_failure_has_its_own_words() {
    let file = settled_file();
    let value: serde_json::Value = serde_json::from_str(&file).unwrap();
    let with = |path: &str, new: serde_json::Value| {
        let mut value = value.clone();
        *value.pointer_mut(path).unwrap() = new;
        value.to_string().into_bytes()
    };
    let other_provider = {
        let body = Receipt { provider: requester().node_id(), ..receipt(1) };
        Signed::sign(body, &network(), &requester())
    };
    let other = signed(2);
    let dear = Signed::sign(Receipt { price: NanoIo(1_001), ..receipt(1) }, &network(), &provider());
    let failed = {
        let fault = ion_protocol::fault::Fault::Cancelled;
        Signed::sign(Receipt { status: Status::Failed(fault), ..receipt(1) }, &network(), &provider())
    };
    let old = {
        let body = Receipt { version: 9, ..receipt(1) };
        Signed::sign(body, &network(), &provider())
    };
    let half = |receipt: &Verified<Receipt>| Some(countersigned(receipt));
    let made = |receipt: &Verified<Receipt>, half: Option<Verified<Countersignature>>| {
        export(&network(), receipt.signed(), half.as_ref().map(Verified::signed)).into_bytes()
    };
    let elsewhere = NetworkId::named("elsewhere").to_string();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![b' '; FILE_BYTES_MAX + 1], "a file of 163841 bytes is no receipt"),
        (vec![0xff, 0xfe], "not text in UTF-8"),
        (Vec::new(), "EOF while parsing"),
        (file.as_bytes()[..file.len() / 2].to_vec(), "EOF while parsing"),
        (b"{\"format\":\"ion-receipt/1\"}".to_vec(), "missing field `network`"),
        (file.replace("\"network\"", "\"net\"").into_bytes(), "unknown field `net`"),
        (with("/format", "ion-receipt/2".into()), "its format is `ion-receipt/2`"),
        (with("/network", "abc".into()), "its network `abc` is not 64 hexadecimal digits"),
        (with("/network", elsewhere.into()), "the provider's half: the signature does not match"),
        (with("/receipt/body", "xyz".into()), "the body of the provider's half is not hexadecimal"),
        (with("/receipt/body", "00".into()), "the provider's half: the document's body is unreadable"),
        (with("/receipt/signature", "00".into()), "the signature of the provider's half is not hexadecimal"),
        (
            with("/countersignature/signature", "00".repeat(64).into()),
            "the requester's half: the signature does not match",
        ),
        (with("/countersignature/body", "0".into()), "the body of the requester's half is not hexadecimal"),
        (made(&signed(1), half(&other)), "the halves disagree about the receipt"),
        (made(&other_provider, half(&signed(1))), "the halves disagree about the provider"),
        (made(&dear, half(&dear)), "a price of 0.000001001 IO does not follow"),
        (made(&dear, None), "a price of 0.000001001 IO does not follow"),
        (made(&failed, half(&failed)), "does not follow"),
        (made(&old, half(&old)), "the document has version 9"),
    ];
    for (bytes, expected) in cases {
        let error = verify_file(&bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "expected `{expected}`, found `{error}`");
    }
    let error = verify_file(&made(&signed(1), half(&other))).unwrap_err();
    assert!(matches!(error, FileError::NotProven(ReceiptError::Disagree("receipt"))), "{error:?}");
}
