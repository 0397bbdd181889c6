// How often each byte occurs: counted in shared memory, four bytes at a time, then added up.
extern "C" __global__ void histogram(int words, const uchar4 *in, unsigned *counts) {
    __shared__ unsigned mine[256];
    for (int b = threadIdx.x; b < 256; b += blockDim.x) mine[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += gridDim.x * blockDim.x) {
        uchar4 four = in[i];
        atomicAdd(mine + four.x, 1);
        atomicAdd(mine + four.y, 1);
        atomicAdd(mine + four.z, 1);
        atomicAdd(mine + four.w, 1);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += blockDim.x)
        if (mine[b]) atomicAdd(counts + b, mine[b]);
}
