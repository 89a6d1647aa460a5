// x86 with AVX2. Its product of unsigned by signed bytes (vpmaddubsw) saturates at 16 bits, which two
// products can exceed, so activations are packed as int16 and multiplied with vpmaddwd: exact.
#include "avx_common.h"
#include "encoder_kernel.h"

namespace tf_prune_ofa {
namespace {

bool IsSupported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

// Columns: [K][32] int16; token 16h + 8j + 4l + i at place 16h + 8l + 4j + i, so that interleaving
// two columns leaves the tokens of each sum in order. Groups: [K/4][2][32][2] int16, columns 4g and
// 4g + 1 before 4g + 2 and 4g + 3.
void Pack(Layout layout, const int8_t* values, ptrdiff_t stride, int live, int columns,
          uint8_t* out) {
  const Rows rows = {values, stride, live};
  if (layout == Layout::kColumns) {
    TransposeColumns(rows, columns, [&](int k, __m256i column) {
      uint8_t* to = out + k * kTokens * 2;
      Store(to, _mm256_srai_epi16(_mm256_unpacklo_epi8(column, column), 8));
      Store(to + 32, _mm256_srai_epi16(_mm256_unpackhi_epi8(column, column), 8));
    });
  } else {
    const __m256i first = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13));
    const __m256i second = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15));
    TransposeGroups(rows, columns, [&](int g, int j, __m256i fours) {
      uint8_t* to = out + g * kTokens * 8 + 32 * j;
      Store(to, _mm256_srai_epi16(_mm256_shuffle_epi8(fours, first), 8));
      Store(to + kTokens * 4, _mm256_srai_epi16(_mm256_shuffle_epi8(fours, second), 8));
    });
  }
}

// Two pairs of int16 weights, each in all places.
struct Pairs {
  __m256i first, second;

  explicit Pairs(const int8_t* weights) {
    const __m256i words = _mm256_cvtepi8_epi16(_mm_set1_epi32(Four(weights)));
    first = _mm256_shuffle_epi32(words, 0x00);
    second = _mm256_shuffle_epi32(words, 0x55);
  }
};

inline __m256i MultiplyAdd(__m256i sum, __m256i x, __m256i w) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
}

inline void AddPair(const uint8_t* x0, const uint8_t* x1, __m256i w, Sums* sums) {
  for (int h = 0; h < 2; ++h) {
    const __m256i a = Load(x0 + 32 * h), b = Load(x1 + 32 * h);
    sums->v[2 * h] = MultiplyAdd(sums->v[2 * h], _mm256_unpacklo_epi16(a, b), w);
    sums->v[2 * h + 1] = MultiplyAdd(sums->v[2 * h + 1], _mm256_unpackhi_epi16(a, b), w);
  }
}

inline void AddColumns(const uint8_t* x, const uint16_t* offsets, const int8_t* weights, Sums* sums) {
  const Pairs pairs(weights);
  AddPair(x + offsets[0], x + offsets[1], pairs.first, sums);
  AddPair(x + offsets[2], x + offsets[3], pairs.second, sums);
}

inline void AddGroup(const uint8_t* x, const uint16_t* offsets, const int8_t* weights, Sums* sums) {
  const Pairs pairs(weights);
  const uint8_t* group = x + *offsets;
  for (int i = 0; i < 4; ++i) {
    sums->v[i] = MultiplyAdd(sums->v[i], Load(group + 32 * i), pairs.first);
    sums->v[i] = MultiplyAdd(sums->v[i], Load(group + kTokens * 4 + 32 * i), pairs.second);
  }
}

void Accumulate(const AccumulateArgs& args) {
  if (args.layout == Layout::kColumns) {
    AccumulateRows<4, AddColumns>(args);
  } else {
    AccumulateRows<1, AddGroup>(args);
  }
}

constexpr Kernels kKernels = {
    "avx2", kTokens, 2, 0, true, 384, IsSupported, Quantize, Pack, Accumulate,
    FinishFloat<0>, FinishInt8, /*requantizes_rows=*/false, /*rounds_as_kleidiai=*/false,
    /*narrow_tokens=*/0, &kAvx2EncoderKernels,
};

}  // namespace

const Kernels* Avx2Kernels() { return &kKernels; }

}  // namespace tf_prune_ofa
