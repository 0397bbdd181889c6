// One step in time of heat along a rod: each point takes a share of what its neighbours are warmer. The left end is kept
// at 1, the right end at 0. `extern "C"` keeps the name short.
struct Rod {
    int points;
    float share;
};

extern "C" __global__ void heat(Rod rod, const float *now, float *next) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rod.points) return;
    float left = i > 0 ? now[i - 1] : 1.0f;
    float right = i + 1 < rod.points ? now[i + 1] : 0.0f;
    next[i] = now[i] + rod.share * (left - 2.0f * now[i] + right);
}
