// Times `kernels.cl` on the CPU device of an OpenCL platform: `cc -O2 opencl.c -lOpenCL -lm`, with the file as its
// argument. Prints each kernel's name and the least of several times in nanoseconds, from the device's own events: the
// kernel alone, neither its translation nor its buffers. Results are held against C; the first wrong one ends it.
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADD = 1 << 22, BODIES = 2048, SUM = 1 << 22, BYTES = 1 << 22, SIDE = 512, BLOCKS = 64, ROUNDS = 6 };

static cl_context context;
static cl_command_queue queue;
static cl_program program;

static void need(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "opencl: %s\n", what);
    exit(1);
}

static cl_mem filled(const void *content, size_t bytes) {
    cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes, (void *)content, 0);
    need(memory != 0, "a buffer cannot be made");
    return memory;
}

static void *read(cl_mem memory, size_t bytes) {
    void *content = malloc(bytes);
    need(!clEnqueueReadBuffer(queue, memory, CL_TRUE, 0, bytes, content, 0, 0, 0), "a buffer cannot be read");
    return content;
}

// Every argument has four bytes, but for the last `memories`, which are buffers.
static void measure(const char *name, const size_t grid[2], const size_t block[2], const void **arguments, int count,
                    int memories) {
    cl_kernel kernel = clCreateKernel(program, name, 0);
    need(kernel != 0, "a kernel is missing");
    for (int i = 0; i < count; i++) {
        size_t bytes = i < count - memories ? 4 : sizeof(cl_mem);
        need(!clSetKernelArg(kernel, i, bytes, arguments[i]), "an argument does not fit");
    }
    cl_ulong least = ~(cl_ulong)0;
    for (int round = 0; round < ROUNDS; round++) {
        cl_event event;
        cl_ulong from, to;
        need(!clEnqueueNDRangeKernel(queue, kernel, 2, 0, grid, block, 0, 0, &event), "a launch is refused");
        need(!clWaitForEvents(1, &event), "a kernel failed");
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof from, &from, 0);
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof to, &to, 0);
        if (to - from < least) least = to - from;
        clReleaseEvent(event);
    }
    printf("%s %llu\n", name, (unsigned long long)least);
}

static void vectors(void) {
    float *a = malloc(ADD * 4), *b = malloc(ADD * 4);
    for (int i = 0; i < ADD; i++) a[i] = i % 1000 / 1000.0f, b[i] = i % 777 / 777.0f;
    cl_uint n = ADD;
    cl_mem x = filled(a, ADD * 4), y = filled(b, ADD * 4), z = filled(a, ADD * 4);
    measure("vector_add", (size_t[]){ADD, 1}, (size_t[]){256, 1}, (const void *[]){&n, &x, &y, &z}, 4, 3);
    float *c = read(z, ADD * 4);
    for (int i = 0; i < ADD; i++) need(c[i] == a[i] + b[i], "vector_add is wrong");
}

static void bodies(void) {
    float *all = malloc(16 * BODIES), want[3] = {0};
    for (int i = 0; i < 4 * BODIES; i++) all[i] = i * 7919 % 1000 / 1000.0f;
    cl_uint n = BODIES;
    cl_mem x = filled(all, 16 * BODIES), y = filled(all, 16 * BODIES);
    measure("nbody", (size_t[]){BODIES, 1}, (size_t[]){128, 1}, (const void *[]){&n, &x, &y}, 3, 2);
    float *out = read(y, 16 * BODIES);
    const float *me = all + 4 * 77;
    for (const float *it = all; it < all + 4 * BODIES; it += 4) {
        float x = it[0] - me[0], y = it[1] - me[1], z = it[2] - me[2];
        float r = 1.0f / sqrtf(fmaf(z, z, fmaf(y, y, fmaf(x, x, 0.01f))));
        float s = r * r * r * it[3];
        want[0] = fmaf(x, s, want[0]), want[1] = fmaf(y, s, want[1]), want[2] = fmaf(z, s, want[2]);
    }
    need(!memcmp(want, out + 4 * 77, sizeof want), "nbody is wrong");
}

static void counting(void) {
    uint32_t *x = malloc(SUM * 4), zeros[256] = {0}, all = 0, want[256] = {0};
    uint8_t *bytes = malloc(BYTES);
    for (int i = 0; i < SUM; i++) all += x[i] = i;
    for (int i = 0; i < BYTES; i++) want[bytes[i] = i * 2654435761u >> 24]++;
    cl_uint n = SUM;
    cl_mem numbers = filled(x, SUM * 4), sums = filled(zeros, sizeof zeros);
    cl_mem letters = filled(bytes, BYTES), counts = filled(zeros, sizeof zeros);
    const size_t grid[] = {BLOCKS * 256, 1}, block[] = {256, 1};
    measure("sum", grid, block, (const void *[]){&n, &numbers, &sums}, 3, 2);
    measure("histogram", grid, block, (const void *[]){&n, &letters, &counts}, 3, 2);
    uint32_t *parts = read(sums, sizeof zeros), *found = read(counts, sizeof zeros);
    for (int i = 0; i < BLOCKS; i++) all -= parts[i];
    need(!all, "sum is wrong");
    for (int i = 0; i < 256; i++) need(found[i] == ROUNDS * want[i], "histogram is wrong");
}

static void squares(void) {
    float *a = malloc(SIDE * SIDE * 4), *b = malloc(SIDE * SIDE * 4), want = 0;
    for (int i = 0; i < SIDE * SIDE; i++) a[i] = i % 1000 / 1000.0f, b[i] = i % 777 / 777.0f;
    cl_uint n = SIDE, limit = 256, row = 99, column = 310;
    cl_float x0 = -2.0f, y0 = -1.25f, step = 2.5f / SIDE;
    cl_mem x = filled(a, SIDE * SIDE * 4), y = filled(b, SIDE * SIDE * 4), z = filled(a, SIDE * SIDE * 4);
    measure("matmul", (size_t[]){SIDE, SIDE}, (size_t[]){16, 16}, (const void *[]){&n, &x, &y, &z}, 4, 3);
    float *c = read(z, SIDE * SIDE * 4);
    for (int k = 0; k < SIDE; k++) want = fmaf(a[row * SIDE + k], b[k * SIDE + column], want);
    need(c[row * SIDE + column] == want, "matmul is wrong");
    const void *arguments[] = {&n, &n, &x0, &y0, &step, &limit, &z};
    measure("mandelbrot", (size_t[]){SIDE, SIDE}, (size_t[]){16, 8}, arguments, 7, 1);
    uint32_t *points = read(z, SIDE * SIDE * 4), times = 0;
    float re = fmaf(column, step, x0), im = fmaf(row, step, y0), u = 0, v = 0;
    for (; times < limit && u * u + v * v <= 4; times++) {
        float uv = u * v;
        u = u * u - v * v + re, v = fmaf(uv, 2, im);
    }
    need(points[row * SIDE + column] == times, "mandelbrot is wrong");
}

int main(int count, char **arguments) {
    cl_platform_id platform;
    cl_device_id device;
    static char source[1 << 16];
    const char *text = source;
    FILE *file = count > 1 ? fopen(arguments[1], "r") : 0;
    need(file && fread(source, 1, sizeof source - 1, file) > 0, "name the file with the kernels");
    need(!clGetPlatformIDs(1, &platform, 0), "there is no platform");
    need(!clGetDeviceIDs(platform, CL_DEVICE_TYPE_CPU, 1, &device, 0), "the platform has no CPU");
    context = clCreateContext(0, 1, &device, 0, 0, 0);
    queue = clCreateCommandQueue(context, device, CL_QUEUE_PROFILING_ENABLE, 0);
    program = clCreateProgramWithSource(context, 1, &text, 0, 0);
    need(program && !clBuildProgram(program, 1, &device, "-cl-fp32-correctly-rounded-divide-sqrt", 0, 0),
         "the kernels do not compile");
    vectors();
    bodies();
    counting();
    squares();
    return 0;
}
