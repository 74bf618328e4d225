"""The OpenCL backend: our own few kernels for the embedded decoder and encoder, driven through pyopencl."""
