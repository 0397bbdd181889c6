// The kernels of `kernels.ptx` and of `gpu/kernels` in OpenCL C: the same operations on the same elements, so that the
// results are the same bits.
#pragma OPENCL FP_CONTRACT OFF

kernel void vector_add(uint n, global const float *a, global const float *b, global float *c) {
    uint i = get_global_id(0);
    if (i < n) c[i] = a[i] + b[i];
}

kernel void nbody(uint n, global const float4 *bodies, global float4 *out) {
    uint i = get_global_id(0);
    float4 me = bodies[i];
    float ax = 0, ay = 0, az = 0;
    for (uint j = 0; j < n; j++) {
        float4 other = bodies[j];
        float dx = other.x - me.x, dy = other.y - me.y, dz = other.z - me.z;
        float d = fma(dz, dz, fma(dy, dy, fma(dx, dx, 0.01f)));
        float r = 1.0f / sqrt(d);
        float s = r * r * r * other.w;
        ax = fma(dx, s, ax), ay = fma(dy, s, ay), az = fma(dz, s, az);
    }
    out[i] = (float4)(ax, ay, az, 0);
}

kernel void sum(uint n, global const uint *x, global uint *sums) {
    local uint part[256];
    uint t = get_local_id(0), mine = 0;
    for (uint i = get_global_id(0); i < n; i += get_global_size(0)) mine += x[i];
    part[t] = mine;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint half_way = 128; half_way; half_way >>= 1) {
        if (t < half_way) part[t] += part[t + half_way];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (t == 0) sums[get_group_id(0)] = part[0];
}

kernel void histogram(uint n, global const uchar *x, global uint *counts) {
    local uint bins[256];
    uint t = get_local_id(0);
    bins[t] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = get_global_id(0); i < n; i += get_global_size(0)) atomic_add(&bins[x[i]], 1);
    barrier(CLK_LOCAL_MEM_FENCE);
    atomic_add(&counts[t], bins[t]);
}

kernel void matmul(uint n, global const float *a, global const float *b, global float *c) {
    local float tile_a[16][16], tile_b[16][16];
    uint x = get_local_id(0), y = get_local_id(1), column = get_global_id(0), row = get_global_id(1);
    float all = 0;
    for (uint k = 0; k < n; k += 16) {
        tile_a[y][x] = a[row * n + k + x];
        tile_b[y][x] = b[(k + y) * n + column];
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (uint i = 0; i < 16; i++) all = fma(tile_a[y][i], tile_b[i][x], all);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    c[row * n + column] = all;
}

kernel void mandelbrot(uint width, uint height, float x0, float y0, float step, uint limit, global uint *counts) {
    uint i = get_global_id(0), j = get_global_id(1);
    if (i >= width || j >= height) return;
    float re = fma((float)i, step, x0), im = fma((float)j, step, y0), u = 0, v = 0;
    uint n = 0;
    for (; n < limit; n++) {
        float uu = u * u, vv = v * v;
        if (uu + vv > 4) break;
        float uv = u * v;
        u = uu - vv + re, v = fma(uv, 2.0f, im);
    }
    counts[j * width + i] = n;
}
