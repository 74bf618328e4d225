#include "paths.h"

#include <string.h>

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace localgpt {

#define LOCALGPT_DECLARE(path) extern const Kernels kernels_##path;
LOCALGPT_DECLARE(portable)
#ifdef LOCALGPT_HAS_AVX512VNNI
LOCALGPT_DECLARE(avx512vnni)
#endif
#ifdef LOCALGPT_HAS_AVXVNNI
LOCALGPT_DECLARE(avxvnni)
#endif
#ifdef LOCALGPT_HAS_AVX2
LOCALGPT_DECLARE(avx2)
#endif
#ifdef LOCALGPT_HAS_DOTPROD
LOCALGPT_DECLARE(dotprod)
#endif

namespace {

#if defined(LOCALGPT_HAS_AVXVNNI)
bool has_avxvnni() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) return false;
    return (eax >> 4 & 1) != 0;
}
#endif

#if defined(LOCALGPT_HAS_DOTPROD)
bool has_dotprod() {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0;  // HWCAP_ASIMDDP
#else
    return true;  // every 64-bit Apple processor that runs today's systems
#endif
}
#endif

struct Candidate {
    Path path;
    bool is_here;
};

const Candidate* candidates(int* num) {
    static const Candidate all[] = {
#ifdef LOCALGPT_HAS_AVX512VNNI
        {{"avx512vnni", &kernels_avx512vnni},
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")},
#endif
#ifdef LOCALGPT_HAS_AVXVNNI
        {{"avxvnni", &kernels_avxvnni}, __builtin_cpu_supports("avx2") && has_avxvnni()},
#endif
#ifdef LOCALGPT_HAS_AVX2
        {{"avx2", &kernels_avx2}, __builtin_cpu_supports("avx2") != 0},
#endif
#ifdef LOCALGPT_HAS_DOTPROD
        {{"dotprod", &kernels_dotprod}, has_dotprod()},
#endif
        {{"portable", &kernels_portable}, true},
    };
    *num = sizeof all / sizeof all[0];
    return all;
}

}  // namespace

const Path* find_path(const char* name) {
    int num;
    const Candidate* all = candidates(&num);
    for (int i = 0; i < num; ++i) {
        const bool is_asked = name == nullptr || *name == '\0' || strcmp(all[i].path.name, name) == 0;
        if (all[i].is_here && is_asked) return &all[i].path;
    }
    return nullptr;
}

const char* path_names() {
    static const std::string names = [] {
        int num;
        const Candidate* all = candidates(&num);
        std::string joined;
        for (int i = 0; i < num; ++i)
            if (all[i].is_here) joined += (joined.empty() ? "" : ",") + std::string(all[i].path.name);
        return joined;
    }();
    return names.c_str();
}

}  // namespace localgpt
