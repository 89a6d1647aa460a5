// What the encoder's kernels share on AVX2 and AVX-VNNI, whatever multiplies. In normalize_avx2.cc.
#ifndef TF_PRUNE_OFA_ENCODER_AVX_H_
#define TF_PRUNE_OFA_ENCODER_AVX_H_

#include "avx_vectors.h"
#include "encoder_kernel.h"

namespace tf_prune_ofa {

// XNNPACK takes its kernels for AVX-512 wherever that is, though these here may run (on Skylake, which
// lacks dot products, or because `isa` says so): what they round otherwise then is rounded so here.
bool RuntimeHasAvx512();

bool CanNormalizeAvx2(int columns);
void NormalizeAvx2(const NormalizeArgs& args);
void LookUpAvx2(const int8_t* table, const int8_t* in, size_t count, int8_t* out);

namespace {

// Halves are added until one number is left, as XNNPACK does.
inline float ReduceAdd(__m256 a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

// 16 numbers to integers of 16 bits, in order. Conversion makes the least integer of what is too large.
inline __m256i Words(__m256 a, __m256 b) {
  const __m256 most = _mm256_set1_ps(32767.0f);
  const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_min_ps(a, most)),
                                           _mm256_cvtps_epi32(_mm256_min_ps(b, most)));
  return _mm256_permute4x64_epi64(words, 0xd8);
}

inline void StoreQuantized(__m256 a, __m256 b, int zero, int8_t* to) {
  const __m256i words =
      _mm256_adds_epi16(Words(a, b), _mm256_set1_epi16(static_cast<int16_t>(zero)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm_packs_epi16(_mm256_castsi256_si128(words),
                                   _mm256_extracti128_si256(words, 1)));
}

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ENCODER_AVX_H_
