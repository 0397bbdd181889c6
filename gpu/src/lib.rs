//! GPU programs on CUDA devices and on the CPU, in a child process.
