// Attention of rows to the keys of their sequence. The host defines
//   HEAD_DIM  width of a head, a multiple of 4

#define head_width JOIN(float, HEAD_WIDTH)
#define LOAD_HEAD JOIN(vload, HEAD_WIDTH)
#define STORE_HEAD JOIN(vstore, HEAD_WIDTH)
#if HEAD_DIM % 16 == 0 && WIDTH == 16
#define HEAD_WIDTH 16
#else
#define HEAD_WIDTH 4
#endif
#define PIECES (HEAD_DIM / HEAD_WIDTH)

#if HEAD_WIDTH == 16
float sum_of_head(float16 x) { return sum_of_4((x.lo.lo + x.lo.hi) + (x.hi.lo + x.hi.hi)); }
#else
float sum_of_head(float4 x) { return sum_of_4(x); }
#endif

// y[t, h] = gate[modality_t, h] * sum_s p_s v_s, where over the keys s = 0 .. position_t
// p = softmax(q_t . k_s / sqrt(D) - slope[h] * (position_t - s))
//
// Key s of head h is at k + sequence_t * sequence_stride + h * head_stride + s * key_stride; so are values.
// Each lane goes through every LANES-th key with a running maximum (arXiv:1805.02867); then lanes are joined.
__kernel void attend(
    __global const float *q, int q_stride,
    __global const float *k, int k_start, __global const float *v, int v_start,
    int sequence_stride, int head_stride, int key_stride, __global const int4 *places,
    __global const float *slopes, __global const float *gates, __global float *y)
{
    __local float shared[LANES * HEAD_DIM];
    const int lane = get_local_id(0), h = get_group_id(0), t = get_group_id(1), n_head = get_num_groups(0);
    const int position = places[t].y;
    const size_t base = (size_t)places[t].x * sequence_stride + (size_t)h * head_stride;
    const float scale = 1.0f / sqrt((float)HEAD_DIM);
    q += (size_t)t * q_stride + h * HEAD_DIM;
    k += base + k_start;
    v += base + v_start;

    head_width query[PIECES], mixed[PIECES];
    #pragma unroll
    for (int i = 0; i < PIECES; ++i) {
        query[i] = LOAD_HEAD(i, q) * scale;
        mixed[i] = 0;
    }
    float most = -INFINITY, total = 0;
    for (int s = lane; s <= position; s += LANES) {
        head_width products = 0;
        #pragma unroll
        for (int i = 0; i < PIECES; ++i)
            products = mad(query[i], LOAD_HEAD(i, k + (size_t)s * key_stride), products);
        const float score = sum_of_head(products) - slopes[h] * (position - s);
        const float new_most = fmax(most, score);
        const float shrink = exp(most - new_most), weight = exp(score - new_most);
        total = total * shrink + weight;
        #pragma unroll
        for (int i = 0; i < PIECES; ++i)
            mixed[i] = mixed[i] * shrink + weight * LOAD_HEAD(i, v + (size_t)s * key_stride);
        most = new_most;
    }

    const float highest = max_over_lanes(most, shared);
    const float share = exp(most - highest);  // 0 of a lane that had no key
    const float whole = sum_over_lanes(total * share, shared);
    #pragma unroll
    for (int i = 0; i < PIECES; ++i)
        STORE_HEAD(mixed[i] * share, i, shared + lane * HEAD_DIM);
    barrier(CLK_LOCAL_MEM_FENCE);
    const float factor = gates[places[t].z * n_head + h] / whole;
    for (int d = lane; d < HEAD_DIM; d += LANES) {
        float sum = 0;
        for (int other = 0; other < LANES; ++other)
            sum += shared[other * HEAD_DIM + d];
        y[((size_t)t * n_head + h) * HEAD_DIM + d] = sum * factor;
    }
}
