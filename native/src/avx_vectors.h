// Vectors of 256 bits, for the sources compiled for AVX2: each compiles this for itself, hence the unnamed
// namespace.
#ifndef TF_PRUNE_OFA_AVX_VECTORS_H_
#define TF_PRUNE_OFA_AVX_VECTORS_H_

#include <immintrin.h>

#include <cstdint>

namespace tf_prune_ofa {
namespace {

inline __m256i Load(const void* from) { return _mm256_load_si256(static_cast<const __m256i*>(from)); }
inline void Store(void* to, __m256i value) { _mm256_store_si256(static_cast<__m256i*>(to), value); }

inline int32_t Four(const void* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof(four));
  return four;
}

inline float Largest(__m256 v) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

// Transposes 4 x 4 elements of 32 bits in each half.
inline void TransposeParts(__m256i v[4]) {
  const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(a, c);
  v[1] = _mm256_unpackhi_epi64(a, c);
  v[2] = _mm256_unpacklo_epi64(b, d);
  v[3] = _mm256_unpackhi_epi64(b, d);
}

// Transposes 8 x 8 elements of 32 bits.
inline void Transpose(__m256i v[8]) {
  TransposeParts(v);
  TransposeParts(v + 4);
  for (int i = 0; i < 4; ++i) {
    const __m256i low = v[i], high = v[4 + i];
    v[i] = _mm256_permute2x128_si256(low, high, 0x20);
    v[4 + i] = _mm256_permute2x128_si256(low, high, 0x31);
  }
}

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_AVX_VECTORS_H_
