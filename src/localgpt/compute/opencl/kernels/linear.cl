// Matrix products with one scale per output channel. The host defines
//   ROWS      rows of x a group takes: 1 for a matrix-vector product, 4 for a matrix-matrix product
//   WEIGHT    char for int8 weights, float where a checkpoint keeps a matrix in floating point

#define COLUMNS 4  // of y, that a group makes
#define RELU 1
#define GELU 2       // exact, with erf
#define GELU_TANH 3  // as MPT and llama.cpp compute it

float activate(float x, int activation)
{
    if (activation == RELU)
        return fmax(x, 0.0f);
    if (activation == GELU)
        return 0.5f * x * (1.0f + erf(x * 0.70710678f));
    if (activation == GELU_TANH)
        return 0.5f * x * (1.0f + tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    return x;
}

// y[t, o] = activate(scale[o] * sum_i x[t, i] * w[o, i] + bias[o] + residual[t, o])
//
// One group makes a tile of ROWS x COLUMNS; its lanes share the sum over i. Loops over the tile are unrolled, so
// that its sums stay in registers. At the edges a row or column that is not there is read as the last one, and
// not written. `bias` and `residual` may be null; y may be residual.
__kernel void linear(
    __global const float *x, __global const WEIGHT *w, __global const float *scale,
    __global const float *bias, __global const float *residual, __global float *y,
    int num_rows, int n_in, int n_out, int activation)
{
    __local float shared[LANES];
    const int lane = get_local_id(0);
    const int first_t = get_group_id(0) * ROWS, first_o = get_group_id(1) * COLUMNS;
    __global const float *rows[ROWS];
    __global const WEIGHT *columns[COLUMNS];
    wide sums[ROWS][COLUMNS];
    float rest[ROWS][COLUMNS];
    #pragma unroll
    for (int r = 0; r < ROWS; ++r)
        rows[r] = x + (size_t)min(first_t + r, num_rows - 1) * n_in;
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c)
        columns[c] = w + (size_t)min(first_o + c, n_out - 1) * n_in;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r)
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            sums[r][c] = 0;
            rest[r][c] = 0;
        }

    const int whole = n_in / WIDTH * WIDTH;
    for (int i = lane * WIDTH; i < whole; i += LANES * WIDTH) {
        wide inputs[ROWS];
        #pragma unroll
        for (int r = 0; r < ROWS; ++r)
            inputs[r] = LOAD(0, rows[r] + i);
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            const wide weights = AS_FLOATS(LOAD(0, columns[c] + i));
            #pragma unroll
            for (int r = 0; r < ROWS; ++r)
                sums[r][c] = mad(inputs[r], weights, sums[r][c]);
        }
    }
    for (int i = whole + lane; i < n_in; i += LANES)
        #pragma unroll
        for (int r = 0; r < ROWS; ++r)
            #pragma unroll
            for (int c = 0; c < COLUMNS; ++c)
                rest[r][c] += rows[r][i] * (float)columns[c][i];

    #pragma unroll
    for (int r = 0; r < ROWS; ++r)
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            const float sum = sum_over_lanes(sum_of(sums[r][c]) + rest[r][c], shared);
            const int t = first_t + r, o = first_o + c;
            if (lane == 0 && t < num_rows && o < n_out) {
                const size_t place = (size_t)t * n_out + o;
                float value = scale[o] * sum;
                if (bias)
                    value += bias[o];
                if (residual)
                    value += residual[place];
                y[place] = activate(value, activation);
            }
        }
}

// y[t, c] = scale[id_t] * table[id_t, c], the token ids being the last of the rows' places (see rows.cl)
__kernel void embed(
    __global const WEIGHT *table, __global const float *scale, __global const int4 *places, __global float *y)
{
    const int c = get_global_id(0), t = get_global_id(1), width = get_global_size(0);
    const int id = places[t].w;
    y[(size_t)t * width + c] = scale[id] * (float)table[(size_t)id * width + c];
}
