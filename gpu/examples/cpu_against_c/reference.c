// The same computations in C, one core: `cc -O3 -march=native reference.c -lm -lpthread`. Prints each one's name and the
// least of several times in nanoseconds of processor time; of those that memory may hold up also, as `NAME_2`, the wall
// time of two threads that do half each.
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ADD = 1 << 22, BODIES = 2048, SUM = 1 << 22, BYTES = 1 << 22, SIDE = 512, TILE = 16, ROUNDS = 5 };

static float *a, *b, *c, *bodies, *out;
static uint32_t *x, sums[256], counts[256], *points;
static uint8_t *bytes;

static void add_part(int from, int to) {
    for (int i = from; i < to; i++) c[i] = a[i] + b[i];
}

static void vector_add(void) { add_part(0, ADD); }

static void nbody(void) {
    for (int i = 0; i < BODIES; i++) {
        float ax = 0, ay = 0, az = 0;
        for (int j = 0; j < BODIES; j++) {
            float dx = bodies[4 * j] - bodies[4 * i];
            float dy = bodies[4 * j + 1] - bodies[4 * i + 1];
            float dz = bodies[4 * j + 2] - bodies[4 * i + 2];
            float d = dx * dx + dy * dy + dz * dz + 0.01f;
            float r = 1.0f / sqrtf(d);
            float s = bodies[4 * j + 3] * r * r * r;
            ax += dx * s, ay += dy * s, az += dz * s;
        }
        out[4 * i] = ax, out[4 * i + 1] = ay, out[4 * i + 2] = az;
    }
}

static void sum_part(int from, int to) {
    uint32_t all = 0;
    for (int i = from; i < to; i++) all += x[i];
    sums[from ? 128 : 0] = all;
}

static void sum(void) { sum_part(0, SUM); }

static void histogram(void) {
    for (int i = 0; i < BYTES; i++) counts[bytes[i]]++;
}

static void matmul(void) {
    memset(c, 0, SIDE * SIDE * sizeof *c);
    for (int i = 0; i < SIDE; i += TILE)
        for (int k = 0; k < SIDE; k += TILE)
            for (int j = 0; j < SIDE; j += TILE)
                for (int ii = i; ii < i + TILE; ii++)
                    for (int kk = k; kk < k + TILE; kk++)
                        for (int jj = j; jj < j + TILE; jj++)
                            c[ii * SIDE + jj] += a[ii * SIDE + kk] * b[kk * SIDE + jj];
}

static void mandelbrot(void) {
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            float re = -2.0f + j * (2.5f / SIDE), im = -1.25f + i * (2.5f / SIDE), u = 0, v = 0;
            uint32_t n = 0;
            for (; n < 256; n++) {
                float uu = u * u, vv = v * v;
                if (uu + vv > 4) break;
                v = 2 * u * v + im, u = uu - vv + re;
            }
            points[i * SIDE + j] = n;
        }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void measure(const char *name, void (*work)(void)) {
    double least = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double started = now();
        work();
        double took = now() - started;
        if (took < least) least = took;
    }
    printf("%s %.0f\n", name, least);
}

static void (*half)(int, int);
static pthread_barrier_t both;

// The second half (`ADD` and `SUM` are equal), as often as `measure_two` asks for it.
static void *second(void *unused) {
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&both);
        half(ADD / 2, ADD);
        pthread_barrier_wait(&both);
    }
    return unused;
}

static double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void measure_two(const char *name, void (*work)(int, int)) {
    pthread_t thread;
    double least = INFINITY;
    half = work;
    pthread_barrier_init(&both, NULL, 2);
    if (pthread_create(&thread, NULL, second, NULL)) exit(1);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&both);
        double started = wall();
        work(0, ADD / 2);
        pthread_barrier_wait(&both);
        double took = wall() - started;
        if (took < least) least = took;
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&both);
    printf("%s_2 %.0f\n", name, least);
}

int main(void) {
    a = malloc(ADD * sizeof *a), b = malloc(ADD * sizeof *b), c = malloc(ADD * sizeof *c);
    bodies = malloc(4 * BODIES * sizeof *bodies), out = malloc(4 * BODIES * sizeof *out);
    x = malloc(SUM * sizeof *x), bytes = malloc(BYTES), points = malloc(SIDE * SIDE * sizeof *points);
    for (int i = 0; i < ADD; i++) a[i] = i % 1000 / 1000.0f, b[i] = i % 777 / 777.0f, c[i] = 0;
    for (int i = 0; i < 4 * BODIES; i++) bodies[i] = i * 7919 % 1000 / 1000.0f;
    for (int i = 0; i < SUM; i++) x[i] = i;
    for (int i = 0; i < BYTES; i++) bytes[i] = i * 2654435761u >> 24;
    measure("vector_add", vector_add);
    measure_two("vector_add", add_part);
    measure("nbody", nbody);
    measure("sum", sum);
    measure_two("sum", sum_part);
    measure("histogram", histogram);
    measure("matmul", matmul);
    measure("mandelbrot", mandelbrot);
    // So that nothing is left out as unused.
    fprintf(stderr, "%g %u %u %u\n", c[7] + out[9], sums[0], counts[3], points[SIDE * SIDE / 2 + 99]);
}
