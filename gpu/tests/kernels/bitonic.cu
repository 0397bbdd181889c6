// Sorts blocks of 1024 keys in shared memory, by Batcher's bitonic network.
extern "C" __global__ void bitonic(int *keys) {
    __shared__ int block[1024];
    int t = threadIdx.x, *mine = keys + blockIdx.x * 1024;
    block[t] = mine[t];
    block[t + 512] = mine[t + 512];
#pragma unroll 1
    for (int size = 2; size <= 1024; size *= 2) {
#pragma unroll 1
        for (int by = size / 2; by > 0; by /= 2) {
            __syncthreads();
            int low = 2 * t - (t & (by - 1));
            bool up = (low & size) == 0;
            int a = block[low], b = block[low + by];
            if ((a > b) == up) {
                block[low] = b;
                block[low + by] = a;
            }
        }
    }
    __syncthreads();
    mine[t] = block[t];
    mine[t + 512] = block[t + 512];
}
