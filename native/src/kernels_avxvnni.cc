// x86 with AVX-VNNI: as AVX-512 VNNI, with half the width.
#include "avx_common.h"
#include "avxvnni.h"
#include "encoder_kernel.h"

namespace tf_prune_ofa {
namespace {

constexpr int kOffset = 128;

bool IsSupported() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasDots();
}

void Pack(Layout layout, const int8_t* values, ptrdiff_t stride, int live, int columns,
          uint8_t* out) {
  const Rows rows = {values, stride, live};
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(kOffset));
  if (layout == Layout::kColumns) {
    TransposeColumns(rows, columns, [&](int k, __m256i column) {
      Store(out + k * kTokens, _mm256_xor_si256(column, offset));
    });
  } else {
    TransposeGroups(rows, columns, [&](int g, int j, __m256i fours) {
      Store(out + (g * kTokens + 8 * j) * 4, _mm256_xor_si256(fours, offset));
    });
  }
}

inline void AddColumns(const uint8_t* x, const uint16_t* offsets, const int8_t* weights, Sums* sums) {
  __m256i v[4];
  Interleave(Load(x + offsets[0]), Load(x + offsets[1]), Load(x + offsets[2]), Load(x + offsets[3]),
             v);
  const __m256i w = _mm256_set1_epi32(Four(weights));
  for (int i = 0; i < 4; ++i) sums->v[i] = AddDots(sums->v[i], v[i], w);
}

inline void AddGroup(const uint8_t* x, const uint16_t* offsets, const int8_t* weights, Sums* sums) {
  const __m256i w = _mm256_set1_epi32(Four(weights));
  for (int i = 0; i < 4; ++i) {
    sums->v[i] = AddDots(sums->v[i], Load(x + *offsets + 32 * i), w);
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
    "avxvnni", kTokens, 1, kOffset, true, 768, IsSupported, Quantize, Pack, Accumulate,
    FinishFloat<kOffset>, FinishInt8, /*requantizes_rows=*/false, /*rounds_as_kleidiai=*/false,
    /*narrow_tokens=*/0, &kAvxVnniEncoderKernels,
};

}  // namespace

const Kernels* AvxVnniKernels() { return &kKernels; }

}  // namespace tf_prune_ofa
