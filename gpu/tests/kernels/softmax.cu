// Softmax of each row, a block a row: warps find maximum and sum by shuffles, the block through shared memory.
__device__ float over_block(float mine, bool maximum, float *shared) {
    for (int by = 16; by > 0; by /= 2) {
        float other = __shfl_xor_sync(0xffffffff, mine, by);
        mine = maximum ? fmaxf(mine, other) : mine + other;
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    float all = shared[0];
    for (int w = 1; w < blockDim.x / 32; w++) all = maximum ? fmaxf(all, shared[w]) : all + shared[w];
    __syncthreads();
    return all;
}

extern "C" __global__ void softmax(int columns, const float *in, float *out) {
    __shared__ float shared[32];
    const float *row = in + (size_t)blockIdx.x * columns;
    float highest = -INFINITY, sum = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) highest = fmaxf(highest, row[c]);
    highest = over_block(highest, true, shared);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += expf(row[c] - highest);
    sum = over_block(sum, false, shared);
    for (int c = threadIdx.x; c < columns; c += blockDim.x)
        out[(size_t)blockIdx.x * columns + c] = expf(row[c] - highest) / sum;
}
