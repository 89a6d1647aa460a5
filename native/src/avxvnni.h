// Dot products of 256 bits: the instruction that AVX-VNNI adds to AVX2.
//
// Compiled with -mavx512vnni -mavx512vl in place of -mavxvnni it has AVX-512's encoding, which some
// processors have alone. The tests build AVX-VNNI's kernels so where they could not run otherwise.
#ifndef TF_PRUNE_OFA_AVXVNNI_H_
#define TF_PRUNE_OFA_AVXVNNI_H_

#include <immintrin.h>

#include <cstdint>

namespace tf_prune_ofa {
namespace {

// Adds four products of unsigned by signed bytes to each sum.
inline __m256i AddDots(__m256i sum, __m256i x, __m256i w) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sum, x, w);
#else
  return _mm256_dpbusd_epi32(sum, x, w);
#endif
}

inline bool HasDots() {
#ifdef __AVXVNNI__
  // GCC 12 and Clang 14 have no name for it: leaf 7, subleaf 1, EAX bit 4.
  uint32_t eax = 7, ebx, ecx = 1, edx;
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (eax >> 4 & 1) != 0;
#else
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl");
#endif
}

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_AVXVNNI_H_
