// One sweep of Jacobi's method: each inner point becomes the mean of its four neighbours, the rim stays.
extern "C" __global__ void jacobi(int width, int height, const double *from, double *to) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    int i = y * width + x;
    bool rim = x == 0 || y == 0 || x == width - 1 || y == height - 1;
    to[i] = rim ? from[i] : 0.25 * (from[i - 1] + from[i + 1] + from[i - width] + from[i + width]);
}
