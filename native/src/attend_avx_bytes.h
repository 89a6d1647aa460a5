// Attention's products by dot products of 256 bits: four at a time, of unsigned by signed bytes.
#ifndef TF_PRUNE_OFA_ATTEND_AVX_BYTES_H_
#define TF_PRUNE_OFA_ATTEND_AVX_BYTES_H_

#include "attend_avx.h"
#include "avxvnni.h"

namespace tf_prune_ofa {
namespace {

struct ByteProducts {
  using Number = uint8_t;
  static constexpr int kGroup = 4;
  static constexpr int16_t kOffset = 128;

  static __m256i Ones() { return _mm256_set1_epi8(1); }

  static __m256i Load(const int8_t* keys) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys));
  }

  static void Interleave(const __m128i rows[4], uint8_t* to) {
    const __m128i a = _mm_unpacklo_epi8(rows[0], rows[1]), b = _mm_unpackhi_epi8(rows[0], rows[1]);
    const __m128i c = _mm_unpacklo_epi8(rows[2], rows[3]), d = _mm_unpackhi_epi8(rows[2], rows[3]);
    auto* parts = reinterpret_cast<__m128i*>(to);
    _mm_store_si128(parts, _mm_unpacklo_epi16(a, c));
    _mm_store_si128(parts + 1, _mm_unpackhi_epi16(a, c));
    _mm_store_si128(parts + 2, _mm_unpacklo_epi16(b, d));
    _mm_store_si128(parts + 3, _mm_unpackhi_epi16(b, d));
  }

  static void Store(__m256i words, uint8_t* to) {
    _mm_store_si128(reinterpret_cast<__m128i*>(to),
                    _mm_packus_epi16(_mm256_castsi256_si128(words),
                                     _mm256_extracti128_si256(words, 1)));
  }

  static __m256i Add(__m256i sum, __m256i x, __m256i y) {
    sum = AddDots(sum, x, y);
    __asm__("" : "+x"(sum));  // or GCC 12 copies each sum before and after
    return sum;
  }
};

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ATTEND_AVX_BYTES_H_
