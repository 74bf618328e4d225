// What convolutions need beside matrix products. A picture is (side * side, C), one row a pixel.

// columns[y * side_out + x, (ky * 3 + kx) * C + c] = picture[y * stride + ky - 1, x * stride + kx - 1, c], 0 outside:
// a 3x3 convolution of padding 1 is then a matrix product.
__kernel void im2col(
    __global const float *picture, __global float *columns, int side, int channels, int side_out, int stride)
{
    const int column = get_global_id(0), n = get_global_id(1);
    const int c = column % channels, tap = column / channels;
    const int y = n / side_out * stride + tap / 3 - 1, x = n % side_out * stride + tap % 3 - 1;
    const int is_inside = y >= 0 && y < side && x >= 0 && x < side;
    columns[(size_t)n * get_global_size(0) + column]
        = is_inside ? picture[((size_t)y * side + x) * channels + c] : 0.0f;
}

// y[n, c] = mean of the 2 x 2 pixels over it
__kernel void average_pool(__global const float *x, __global float *y, int side_out)
{
    const int c = get_global_id(0), n = get_global_id(1), channels = get_global_size(0);
    const size_t side = 2 * (size_t)side_out;
    const size_t corner = (n / side_out * 2 * side + n % side_out * 2) * channels + c;
    const float upper = x[corner] + x[corner + channels];
    const float lower = x[corner + side * channels] + x[corner + (side + 1) * channels];
    y[(size_t)n * channels + c] = (upper + lower) * 0.25f;
}

// y[n] = fine[n] beside the pixel of `coarse`, half as many a side, that covers it
__kernel void grid(
    __global const float *fine, __global const float *coarse, __global float *y,
    int side, int n_fine, int n_coarse)
{
    const int c = get_global_id(0), n = get_global_id(1);
    const int covering = n / side / 2 * (side / 2) + n % side / 2;
    y[(size_t)n * (n_fine + n_coarse) + c]
        = c < n_fine ? fine[(size_t)n * n_fine + c] : coarse[(size_t)covering * n_coarse + c - n_fine];
}
