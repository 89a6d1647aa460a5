// LayerNorm behind an addition, and tables of 256 bytes, on AVX2.
#include "encoder_avx.h"
#include "encoder_common.h"

namespace tf_prune_ofa {
namespace {

// Four vectors. XNNPACK adds up 32 sums in this order with and without AVX-512.
constexpr int kAtATime = 32;

inline float ReduceAdd(const __m256 sums[4]) {
  return ReduceAdd(_mm256_add_ps(_mm256_add_ps(sums[0], sums[2]), _mm256_add_ps(sums[1], sums[3])));
}

__attribute__((target("avx512f"))) __m256 ApproximateRootAvx512(__m256 x) {
  return _mm256_castps128_ps256(_mm_rsqrt14_ss(_mm256_castps256_ps128(x), _mm256_castps256_ps128(x)));
}

// An approximation of 12 or 14 bits and one step of Newton's, as XNNPACK's.
inline float ReciprocalRoot(float number) {
  const __m256 x = _mm256_set1_ps(number);
  const __m256 y = RuntimeHasAvx512() ? ApproximateRootAvx512(x) : _mm256_rsqrt_ps(x);
  const __m256 t = _mm256_sub_ps(_mm256_mul_ps(x, _mm256_mul_ps(y, y)), _mm256_set1_ps(1.0f));
  return _mm256_cvtss_f32(
      _mm256_sub_ps(y, _mm256_mul_ps(t, _mm256_mul_ps(_mm256_set1_ps(0.5f), y))));
}

// The sum that is normalized, 8 numbers of it.
template <Second kSecond>
inline __m256 LoadSum(const NormalizeArgs& args, ptrdiff_t place) {
  const __m256 a = _mm256_loadu_ps(args.a + place);
  if (kSecond == Second::kFloat) return _mm256_add_ps(a, _mm256_loadu_ps(args.b + place));
  if (kSecond == Second::kBytes) {
    const __m256i q = _mm256_cvtepi8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(args.b_bytes + place)));
    const __m256 b = _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(args.b_zero)));
    return _mm256_add_ps(a, _mm256_mul_ps(b, _mm256_set1_ps(args.b_scale)));
  }
  return a;
}

template <Second kSecond>
void NormalizeToken(const NormalizeArgs& args, int token, float* x) {
  const ptrdiff_t begin = static_cast<ptrdiff_t>(token) * args.columns;
  __m256 sums[4];
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (int c = 0; c < args.columns; c += kAtATime) {
    for (int i = 0; i < 4; ++i) {
      const __m256 v = LoadSum<kSecond>(args, begin + c + 8 * i);
      sums[i] = _mm256_add_ps(sums[i], v);
      _mm256_store_ps(x + c + 8 * i, v);
    }
  }
  const float share = 1.0f / static_cast<float>(args.columns);
  const __m256 mean = _mm256_set1_ps(ReduceAdd(sums) * share);
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (int c = 0; c < args.columns; c += kAtATime) {
    for (int i = 0; i < 4; ++i) {
      const __m256 d = _mm256_sub_ps(_mm256_load_ps(x + c + 8 * i), mean);
      _mm256_store_ps(x + c + 8 * i, d);
      sums[i] = _mm256_add_ps(sums[i], _mm256_mul_ps(d, d));
    }
  }
  const __m256 root = _mm256_set1_ps(ReciprocalRoot(ReduceAdd(sums) * share + args.epsilon));
  const __m256 multiplier = _mm256_set1_ps(args.out_multiplier);
  for (int c = 0; c < args.columns; c += 16) {
    __m256 y[2];
    for (int i = 0; i < 2; ++i) {
      const int n = c + 8 * i;
      y[i] = _mm256_mul_ps(_mm256_load_ps(x + n), root);
      y[i] = _mm256_add_ps(_mm256_mul_ps(y[i], _mm256_loadu_ps(args.gamma + n)),
                           _mm256_loadu_ps(args.beta + n));
      if (args.out != nullptr) _mm256_storeu_ps(args.out + begin + n, y[i]);
    }
    if (args.out_bytes == nullptr) continue;
    StoreQuantized(_mm256_mul_ps(y[0], multiplier), _mm256_mul_ps(y[1], multiplier),
                   args.out_zero, args.out_bytes + begin + c);
  }
}

// What each 16 entries change against the 16 before them, from number 0 and from number -128 on. A shuffle
// gives 0 where a number is negative; so changes up to the number's own are added up, and no others.
struct Changes {
  explicit Changes(const int8_t* table) {
    for (int half = 0; half < 2; ++half) {
      __m128i last = _mm_setzero_si128();
      for (int i = 0; i < 8; ++i) {
        const __m128i own = _mm_loadu_si128(
            reinterpret_cast<const __m128i*>(table + 128 * (1 - half) + 16 * i));
        parts[half][i] = _mm256_broadcastsi128_si256(_mm_xor_si128(own, last));
        last = own;
      }
    }
  }
  __m256i parts[2][8];
};

inline __m256i LookUp(const Changes& changes, __m256i x) {
  const __m256i step = _mm256_set1_epi8(16);
  __m256i y = _mm256_setzero_si256();
  for (const auto& half : changes.parts) {
    __m256i place = x;
    for (int i = 0; i < 8; ++i) {
      y = _mm256_xor_si256(y, _mm256_shuffle_epi8(half[i], place));
      place = _mm256_subs_epi8(place, step);
    }
    x = _mm256_xor_si256(x, _mm256_set1_epi8(static_cast<char>(0x80)));
  }
  return y;
}

}  // namespace

bool RuntimeHasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f");
  return has;
}

bool CanNormalizeAvx2(int columns) { return columns % kAtATime == 0 && columns <= kMostColumns; }

void NormalizeAvx2(const NormalizeArgs& args) {
  NormalizeTokens(args, [&args](auto second, int token, float* x) {
    NormalizeToken<decltype(second)::value>(args, token, x);
  });
}

void LookUpAvx2(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  const Changes changes(table);
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), LookUp(changes, x));
  }
  for (; i < count; ++i) out[i] = table[in[i] + 128];
}

}  // namespace tf_prune_ofa
