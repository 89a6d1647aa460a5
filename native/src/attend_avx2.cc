// Attention's products on AVX2: vpmaddwd, two at a time, of numbers of 16 bits.
#include "attend_avx.h"

namespace tf_prune_ofa {
namespace {

struct WordProducts {
  using Number = int16_t;
  static constexpr int kGroup = 2;
  static constexpr int16_t kOffset = 0;

  static __m256i Ones() { return _mm256_set1_epi16(1); }

  static __m256i Load(const int8_t* keys) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(keys)));
  }

  static void Interleave(const __m128i rows[2], uint8_t* to) {
    tf_prune_ofa::Store(to, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(rows[0], rows[1])));
    tf_prune_ofa::Store(to + 32, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(rows[0], rows[1])));
  }

  static void Store(__m256i words, int16_t* to) { tf_prune_ofa::Store(to, words); }

  static __m256i Add(__m256i sum, __m256i x, __m256i y) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
  }
};

}  // namespace

const EncoderKernels kAvx2EncoderKernels = {
    CanAttend,        ScratchBytes<WordProducts>, AttendWith<WordProducts>,
    CanNormalizeAvx2, NormalizeAvx2,              LookUpAvx2,
};

}  // namespace tf_prune_ofa
