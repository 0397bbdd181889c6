//! The header of a numpy file (NEP 1, format 1.0): magic, version, length, and a Python dictionary padded so that the
//! data begins at a multiple of 64.

use ion_protocol::job::Element;

const MAGIC: &[u8; 8] = b"\x93NUMPY\x01\x00";
/// Where data may begin.
const ALIGN: usize = 64;

/// numpy's name for a little-endian element; it has none for bf16.
pub fn type_name(element: Element) -> Option<&'static str> {
    match element {
        Element::U8 => Some("|u1"),
        Element::I8 => Some("|i1"),
        Element::U16 => Some("<u2"),
        Element::I16 => Some("<i2"),
        Element::F16 => Some("<f2"),
        Element::Bf16 => None,
        Element::U32 => Some("<u4"),
        Element::I32 => Some("<i4"),
        Element::F32 => Some("<f4"),
        Element::U64 => Some("<u8"),
        Element::I64 => Some("<i8"),
        Element::F64 => Some("<f8"),
    }
}

/// The bytes before the data.
pub fn header(element: Element, shape: &[u64]) -> Option<Vec<u8>> {
    let descr = type_name(element)?;
    let extents: String = match shape {
        [one] => format!("{one},"),
        many => many.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    let unpadded = MAGIC.len() + 2 + dict.len() + 1;
    dict.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGN) - unpadded));
    dict.push('\n');
    let length = u16::try_from(dict.len()).ok()?;
    Some([MAGIC.as_slice(), &length.to_le_bytes(), dict.as_bytes()].concat())
}
