// Sum, least and greatest of all, through warps and atomics.
extern "C" __global__ void reduce(int n, const int *in, long long *sum, int *least, int *greatest) {
    long long mine = 0;
    int low = 2147483647, high = -2147483647 - 1;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        mine += in[i];
        low = min(low, in[i]);
        high = max(high, in[i]);
    }
    for (int by = 16; by > 0; by /= 2) {
        mine += __shfl_down_sync(0xffffffff, mine, by);
        low = min(low, __shfl_down_sync(0xffffffff, low, by));
        high = max(high, __shfl_down_sync(0xffffffff, high, by));
    }
    if (threadIdx.x % 32 == 0) {
        atomicAdd((unsigned long long *)sum, (unsigned long long)mine);
        atomicMin(least, low);
        atomicMax(greatest, high);
    }
}
