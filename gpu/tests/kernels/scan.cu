// Running sums: of each block of 256, and then with the sum of all blocks before.
extern "C" __global__ void scan_blocks(int n, const unsigned *in, unsigned *out, unsigned *totals) {
    __shared__ unsigned warps[8];
    int i = blockIdx.x * 256 + threadIdx.x, lane = threadIdx.x % 32;
    unsigned sum = i < n ? in[i] : 0;
    for (int by = 1; by < 32; by *= 2) {
        unsigned before = __shfl_up_sync(0xffffffff, sum, by);
        if (lane >= by) sum += before;
    }
    if (lane == 31) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    for (int w = 0; w < threadIdx.x / 32; w++) sum += warps[w];
    if (i < n) out[i] = sum;
    if (threadIdx.x == 255) totals[blockIdx.x] = sum;
}

extern "C" __global__ void scan_add(int n, unsigned *out, const unsigned *totals) {
    int i = blockIdx.x * 256 + threadIdx.x;
    unsigned before = 0;
    for (int b = 0; b < blockIdx.x; b++) before += totals[b];
    if (i < n) out[i] += before;
}
