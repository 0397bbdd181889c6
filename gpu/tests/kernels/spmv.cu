// Sparse matrix in compressed rows times a vector: a warp a row.
extern "C" __global__ void spmv(int rows, const int *starts, const int *columns, const float *values, const float *x, float *y) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    float sum = 0;
    for (int k = starts[row] + lane; k < starts[row + 1]; k += 32) sum += values[k] * __ldg(x + columns[k]);
    for (int by = 16; by > 0; by /= 2) sum += __shfl_down_sync(0xffffffff, sum, by);
    if (lane == 0) y[row] = sum;
}
