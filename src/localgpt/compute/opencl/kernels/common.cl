// Shared by every program. No extension is needed: no half precision, no integer dot products.
//
// The host defines
//   LANES   work-items of a group, which share one sum: 1 on a CPU, 32 elsewhere
//   WIDTH   floats a work-item takes at once: 16 on a CPU, 4 elsewhere
//
// Arrays are row-major. T rows (tokens, or pixels of a picture), C channels, H heads, D head width.

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef JOIN(float, WIDTH) wide;
#define LOAD JOIN(vload, WIDTH)
#define AS_FLOATS JOIN(convert_float, WIDTH)

float sum_of_4(float4 x) { return (x.s0 + x.s1) + (x.s2 + x.s3); }

#if WIDTH == 16
float sum_of(float16 x) { return sum_of_4((x.lo.lo + x.lo.hi) + (x.hi.lo + x.hi.hi)); }
#elif WIDTH == 8
float sum_of(float8 x) { return sum_of_4(x.lo + x.hi); }
#else
float sum_of(float4 x) { return sum_of_4(x); }
#endif

// The sum of one value of each lane, known to all of them; `shared` holds LANES floats.
float sum_over_lanes(float x, __local float *shared)
{
#if LANES == 1
    return x;
#else
    shared[get_local_id(0)] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0;
    for (int lane = 0; lane < LANES; ++lane)
        sum += shared[lane];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
#endif
}

float max_over_lanes(float x, __local float *shared)
{
#if LANES == 1
    return x;
#else
    shared[get_local_id(0)] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    float most = shared[0];
    for (int lane = 1; lane < LANES; ++lane)
        most = fmax(most, shared[lane]);
    barrier(CLK_LOCAL_MEM_FENCE);
    return most;
#endif
}
