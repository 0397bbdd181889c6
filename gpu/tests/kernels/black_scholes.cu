// Prices of European options: stock, strike and years in, call and put out.
__device__ float normal(float x) {
    return 0.5f * erfcf(-x * 0.70710678f);
}

extern "C" __global__ void black_scholes(int n, float rate, float volatility, const float *stock, const float *strike,
                                         const float *years, float *call, float *put) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float s = stock[i], k = strike[i], t = years[i], spread = volatility * sqrtf(t);
    float d1 = (logf(s / k) + (rate + 0.5f * volatility * volatility) * t) / spread, d2 = d1 - spread;
    float worth = k * expf(-rate * t);
    call[i] = s * normal(d1) - worth * normal(d2);
    put[i] = worth * normal(-d2) - s * normal(-d1);
}
