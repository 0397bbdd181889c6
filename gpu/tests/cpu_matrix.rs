//! Matrices and copies on their way between memory and registers: `ldmatrix`, `stmatrix`, `movmatrix`, `cp.async`.

mod cpu_bench;

use cpu_bench::{Bench, bytes_of_u32, u32s};
use ion_protocol::fault::Fault;

const TILES: &str = "
.version 7.8
.target sm_90
.address_size 64
.visible .entry tiles(.param .u64 out)
{
    .reg .b32 %r<12>; .reg .b64 %o; .reg .b16 %h;
    .shared .align 16 .b8 cell[512];
    .shared .align 16 .b8 copy[512];
    ld.param.u64 %o, [out];
    mov.u32 %r0, %tid.x;
    // 256 halves: each is its own number.
    mov.u32 %r1, 0;
FILL:
    mad.lo.u32 %r2, %r1, 32, %r0;
    shl.b32 %r3, %r2, 1;
    mov.u32 %r4, cell;
    add.u32 %r4, %r4, %r3;
    cvt.u16.u32 %h, %r2;
    st.shared.u16 [%r4], %h;
    add.u32 %r1, %r1, 1;
    { .reg .pred p; setp.lt.u32 p, %r1, 8; @p bra FILL; }
    bar.sync 0;
    // Lane n gives the address of row n, of 16 bytes.
    shl.b32 %r3, %r0, 4;
    mov.u32 %r4, cell;
    add.u32 %r4, %r4, %r3;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r5, %r6, %r7, %r8}, [%r4];
    mad.wide.u32 %o, %r0, 48, %o;
    st.global.v4.u32 [%o], {%r5, %r6, %r7, %r8};
    ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r9, %r10}, [%r4];
    movmatrix.sync.aligned.m8n8.trans.b16 %r11, %r9;
    st.global.v2.u32 [%o+16], {%r9, %r10};
    st.global.u32 [%o+24], %r11;
    mov.u32 %r4, copy;
    add.u32 %r4, %r4, %r3;
    stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r4], {%r5, %r6, %r7, %r8};
    bar.sync 0;
    ld.shared.v4.u32 {%r5, %r6, %r7, %r8}, [%r4];
    st.global.v4.u32 [%o+32], {%r5, %r6, %r7, %r8};
    ret;
}
";

#[test]
fn tiles_go_to_registers_and_back() {
    let bench = Bench::new(TILES, "tiles").buffer(vec![0; 32 * 48]);
    let out = u32s(&bench.outputs()[0]);
    let both = |low: usize, high: usize| low as u32 | (high as u32) << 16;
    for lane in 0..32 {
        let (row, column) = (lane / 4, lane % 4 * 2);
        let words = &out[lane * 12..];
        for (tile, word) in words[..4].iter().enumerate() {
            let at = tile * 64 + row * 8 + column;
            assert_eq!(*word, both(at, at + 1), "lane {lane}, tile {tile}");
        }
        for tile in 0..2 {
            let at = tile * 64 + column * 8 + row;
            assert_eq!(words[4 + tile], both(at, at + 8), "lane {lane}, transposed tile {tile}");
        }
        assert_eq!(words[6], words[0], "lane {lane}: transposed twice");
        // The row that this lane's address stood for, of the transposed tile.
        let (tile, row) = (lane / 8, lane % 8);
        let expected: Vec<u32> =
            (0..4).map(|n| both(tile * 64 + n * 16 + row, tile * 64 + n * 16 + 8 + row)).collect();
        assert_eq!(words[8..12], expected, "lane {lane}");
    }
}

const COPY: &str = "
.version 7.8
.target sm_80
.address_size 64
.visible .entry copy(.param .u64 in, .param .u64 out)
{
    .reg .b32 %r<12>; .reg .b64 %i, %o, %d<4>;
    .shared .align 16 .b8 cell[1024];
    ld.param.u64 %i, [in]; ld.param.u64 %o, [out];
    mov.u32 %r0, %tid.x;
    mad.wide.u32 %i, %r0, 16, %i;
    mad.wide.u32 %o, %r0, 32, %o;
    shl.b32 %r1, %r0, 5;
    mov.u32 %r2, cell;
    add.u32 %r2, %r2, %r1;
    cp.async.cg.shared.global [%r2], [%i], 16;
    // Of eight bytes so many are read as the thread's number says, the rest is zero.
    min.u32 %r3, %r0, 8;
    cp.async.ca.shared.global [%r2+16], [%i], 8, %r3;
    cp.async.ca.shared.global.L2::128B [%r2+24], [%i+4], 4;
    cp.async.commit_group;
    cp.async.wait_group 0;
    cp.async.wait_all;
    bar.sync 0;
    ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2];
    st.global.v4.u32 [%o], {%r4, %r5, %r6, %r7};
    ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2+16];
    st.global.v4.u32 [%o+16], {%r4, %r5, %r6, %r7};
    ret;
}
";

#[test]
fn copies_fill_what_they_do_not_read_with_zeros() {
    let input: Vec<u32> = (0..128).map(|n| n * 0x0101_0101 + 0x1020_3040).collect();
    let bench = Bench::new(COPY, "copy").buffer(bytes_of_u32(&input)).buffer(vec![0xff; 1024]);
    let out = bench.outputs().remove(1);
    for lane in 0..32 {
        let (from, found) = (&bytes_of_u32(&input[lane * 4..lane * 4 + 4]), &out[lane * 32..lane * 32 + 32]);
        assert_eq!(found[..16], from[..16], "lane {lane}");
        let mut expected = from[..8].to_vec();
        expected[lane.min(8)..].fill(0);
        assert_eq!(found[16..24], expected, "lane {lane}");
        assert_eq!(found[24..28], from[4..8], "lane {lane}");
    }
    // The last lane reads beyond the buffer.
    let bench = Bench::new(COPY, "copy").buffer(vec![0; 508]).buffer(vec![0; 1024]);
    let fault = bench.run().unwrap_err();
    assert!(
        matches!(&fault, Fault::OutOfBounds { space, place, .. } if space == "global" && place.thread[0] == 31),
        "{fault}"
    );
}

/// A warp of which a part is elsewhere has no matrices to multiply.
#[test]
fn a_divergent_warp_is_told() {
    let text = "
.version 7.8
.target sm_80
.address_size 64
.visible .entry k()
{
    .reg .b32 %r<4>; .reg .pred %p;
    mov.u32 %r0, %tid.x;
    setp.lt.u32 %p, %r0, 7;
    @%p movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;
    ret;
}
";
    let fault = Bench::new(text, "k").run().unwrap_err();
    assert!(matches!(&fault, Fault::DivergentBarrier { place } if place.line == 10), "{fault}");
}
