// What is done row by row. A row's place is an int4: (sequence, position, modality, token id).

// y[t, c] = (x[t, c] - mean_t) / sqrt(variance_t + epsilon) * weight[c]; y may be x.
__kernel void layer_norm(
    __global const float *x, int x_start, int x_stride, __global const float *weight,
    __global float *y, int y_start, int y_stride, int width, float epsilon)
{
    __local float shared[LANES];
    const int lane = get_local_id(0), t = get_group_id(0);
    x += (size_t)x_start + (size_t)t * x_stride;
    y += (size_t)y_start + (size_t)t * y_stride;

    float sum = 0;
    for (int c = lane; c < width; c += LANES)
        sum += x[c];
    const float mean = sum_over_lanes(sum, shared) / width;
    float squares = 0;
    for (int c = lane; c < width; c += LANES)
        squares += (x[c] - mean) * (x[c] - mean);
    const float variance = sum_over_lanes(squares, shared) / width;
    const float factor = 1.0f / sqrt(variance + epsilon);
    for (int c = lane; c < width; c += LANES)
        y[c] = (x[c] - mean) * factor * weight[c];
}

// cache[sequence_t, h, position_t, d] = x[t, h * D + d]
__kernel void store(
    __global const float *x, int x_start, int x_stride, __global const int4 *places,
    __global float *cache, int n_head, int head_dim, int context_len)
{
    const int c = get_global_id(0), t = get_global_id(1);
    const size_t head = (size_t)places[t].x * n_head + c / head_dim;
    cache[(head * context_len + places[t].y) * head_dim + c % head_dim]
        = x[(size_t)x_start + (size_t)t * x_stride + c];
}

// y[t, c] = x[t, c] + z[t, c], over all elements
__kernel void add(__global const float *x, __global const float *z, __global float *y)
{
    const size_t i = get_global_id(0);
    y[i] = x[i] + z[i];
}

// y[c] = mean of x[t, c] over t
__kernel void mean_of_rows(__global const float *x, __global float *y, int num_rows)
{
    const int c = get_global_id(0), width = get_global_size(0);
    float sum = 0;
    for (int t = 0; t < num_rows; ++t)
        sum += x[(size_t)t * width + c];
    y[c] = sum / num_rows;
}
