// LayerNorm behind an addition, and tables of 256 bytes, on AVX-512.
#include "encoder_avx512.h"
#include "encoder_common.h"

namespace tf_prune_ofa {
namespace {

// In the order in which XNNPACK adds up: two sums of every second 16 numbers, then halves.
inline float ReduceAdd(__m512 a) {
  const __m256 a256 = _mm256_add_ps(_mm512_castps512_ps256(a),
                                    _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)));
  __m128 a128 = _mm_add_ps(_mm256_castps256_ps128(a256), _mm256_extractf128_ps(a256, 1));
  a128 = _mm_add_ps(a128, _mm_movehl_ps(a128, a128));
  a128 = _mm_add_ss(a128, _mm_movehdup_ps(a128));
  return _mm_cvtss_f32(a128);
}

// An approximation and one step of Newton's, as XNNPACK's.
inline float ReciprocalRoot(float x) {
  const __m128 vx = _mm_set_ss(x);
  const __m128 y = _mm_rsqrt14_ss(vx, vx);
  const __m128 t = _mm_sub_ss(_mm_mul_ss(vx, _mm_mul_ss(y, y)), _mm_set_ss(1.0f));
  return _mm_cvtss_f32(_mm_sub_ss(y, _mm_mul_ss(t, _mm_mul_ss(_mm_set_ss(0.5f), y))));
}

template <Second kSecond>
void NormalizeToken(const NormalizeArgs& args, int token, float* x) {
  const int columns = args.columns;
  const ptrdiff_t begin = static_cast<ptrdiff_t>(token) * columns;
  const float* a = args.a + begin;
  const __m512 b_scale = _mm512_set1_ps(args.b_scale);
  const __m512i b_zero = _mm512_set1_epi32(args.b_zero);
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int k = 0; k < columns; k += 32) {
    for (int i = 0; i < 2; ++i) {
      const int c = k + 16 * i;
      __m512 v = _mm512_loadu_ps(a + c);
      if (kSecond == Second::kFloat) v = _mm512_add_ps(v, _mm512_loadu_ps(args.b + begin + c));
      if (kSecond == Second::kBytes) {
        const __m512i q = _mm512_cvtepi8_epi32(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(args.b_bytes + begin + c)));
        v = _mm512_add_ps(
            v, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, b_zero)), b_scale));
      }
      sums[i] = _mm512_add_ps(sums[i], v);
      _mm512_store_ps(x + c, v);
    }
  }
  const float share = 1.0f / static_cast<float>(columns);
  const __m512 mean = _mm512_set1_ps(ReduceAdd(_mm512_add_ps(sums[0], sums[1])) * share);
  sums[0] = sums[1] = _mm512_setzero_ps();
  for (int k = 0; k < columns; k += 32) {
    for (int i = 0; i < 2; ++i) {
      const __m512 d = _mm512_sub_ps(_mm512_load_ps(x + k + 16 * i), mean);
      _mm512_store_ps(x + k + 16 * i, d);
      sums[i] = _mm512_add_ps(sums[i], _mm512_mul_ps(d, d));
    }
  }
  const float variance = ReduceAdd(_mm512_add_ps(sums[0], sums[1])) * share;
  const __m512 root = _mm512_set1_ps(ReciprocalRoot(variance + args.epsilon));
  const __m512 multiplier = _mm512_set1_ps(args.out_multiplier);
  const __m512 largest = _mm512_set1_ps(32767.0f);
  const __m512i zero = _mm512_set1_epi16(static_cast<int16_t>(args.out_zero));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
  for (int k = 0; k < columns; k += 32) {
    __m512 y[2];
    for (int i = 0; i < 2; ++i) {
      const int c = k + 16 * i;
      y[i] = _mm512_mul_ps(_mm512_load_ps(x + c), root);
      y[i] = _mm512_add_ps(_mm512_mul_ps(y[i], _mm512_loadu_ps(args.gamma + c)),
                           _mm512_loadu_ps(args.beta + c));
      if (args.out != nullptr) _mm512_storeu_ps(args.out + begin + c, y[i]);
      y[i] = _mm512_min_ps(_mm512_mul_ps(y[i], multiplier), largest);
    }
    if (args.out_bytes == nullptr) continue;
    const __m512i words = _mm512_adds_epi16(
        _mm512_packs_epi32(_mm512_cvtps_epi32(y[0]), _mm512_cvtps_epi32(y[1])), zero);
    // In each part of 128 bits four numbers of y[0], then four of y[1].
    const __m512i fours = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(words, words));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(args.out_bytes + begin + k),
                        _mm512_castsi512_si256(fours));
  }
}

// Four times 64 bytes of the table, of which two bits of a number choose one.
__attribute__((target("avx512vbmi"))) void LookUpWords(const int8_t* table, const int8_t* in,
                                                       size_t count, int8_t* out) {
  __m512i part[4];
  // table[i] is of the number i - 128, so that numbers from 0 on begin at 128.
  for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + 64 * ((i + 2) % 4));
  for (size_t i = 0; i < count; i += 64) {
    const __mmask64 mask = count - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (count - i)) - 1;
    const __m512i x = _mm512_maskz_loadu_epi8(mask, in + i);
    const __m512i low = _mm512_permutex2var_epi8(part[0], x, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], x, part[3]);
    _mm512_mask_storeu_epi8(out + i, mask,
                            _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high));
  }
}

}  // namespace

bool CanNormalizeAvx512(int columns) { return columns % 32 == 0 && columns <= kMostColumns; }

void NormalizeAvx512(const NormalizeArgs& args) {
  NormalizeTokens(args, [&args](auto second, int token, float* x) {
    NormalizeToken<decltype(second)::value>(args, token, x);
  });
}

void LookUpAvx512(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  static const bool has_words = __builtin_cpu_supports("avx512vbmi");
  if (has_words) {
    LookUpWords(table, in, count, out);
    return;
  }
  for (size_t i = 0; i < count; ++i) out[i] = table[in[i] + 128];
}

const EncoderKernels kAvx512EncoderKernels = {
    CanAttendAvx512, AttendScratchBytesAvx512, AttendAvx512,
    CanNormalizeAvx512, NormalizeAvx512, LookUpAvx512,
};

}  // namespace tf_prune_ofa
