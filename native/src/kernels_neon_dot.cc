// NEON with SDOT (Armv8.2 dot products): 16 products of signed bytes into four sums of 32 bits, the
// weights of four entries in the four lanes of one register.

#include <arm_neon.h>
#include <sys/auxv.h>

#include "encoder_kernel.h"
#include "kernel.h"
#include "neon_common.h"

namespace tf_prune_ofa {
namespace {

// 16 registers of sums, each of four tokens. What an entry costs beside its dot products (reading
// offsets, adding them) is shared by all of them.
constexpr int kTokens = 64;
constexpr int kSums = kTokens / 4;
constexpr int kGroupBytes = 4 * kTokens;
// 24 KB: half of the first-level cache of the large cores that have these instructions.
constexpr int kTileColumns = 384;

// The bits that Linux sets for dot products and for products of 8x2 matrices.
constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
constexpr unsigned long kHwcap2I8mm = 1ul << 13;

bool HasDot() { return (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0; }
bool HasI8mm() { return HasDot() && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0; }

// Four rows of four 32-bit words -> their four columns.
inline void Transpose4x4(int32x4_t rows[4]) {
  const int32x4_t a = vtrn1q_s32(rows[0], rows[1]), b = vtrn2q_s32(rows[0], rows[1]);
  const int32x4_t c = vtrn1q_s32(rows[2], rows[3]), d = vtrn2q_s32(rows[2], rows[3]);
  const auto low = [](int32x4_t x, int32x4_t y) {
    return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
  };
  const auto high = [](int32x4_t x, int32x4_t y) {
    return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
  };
  rows[0] = low(a, c);
  rows[1] = low(b, d);
  rows[2] = high(a, c);
  rows[3] = high(b, d);
}

// [tokens][columns] -> [columns / 4][tokens][4]. Rows that are not live repeat the last one.
void PackGroups(const int8_t* values, ptrdiff_t stride, int live, int columns, uint8_t* out) {
  for (int token = 0; token < kTokens; token += 4) {
    const int8_t* rows[4];
    for (int i = 0; i < 4; ++i) {
      rows[i] = values + (token + i < live ? token + i : live - 1) * stride;
    }
    int8_t* to = reinterpret_cast<int8_t*>(out) + 4 * token;
    int column = 0;
    for (; column + 16 <= columns; column += 16) {
      int32x4_t words[4];
      for (int i = 0; i < 4; ++i) words[i] = vreinterpretq_s32_s8(vld1q_s8(rows[i] + column));
      Transpose4x4(words);
      for (int i = 0; i < 4; ++i) {
        vst1q_s8(to + (column / 4 + i) * kGroupBytes, vreinterpretq_s8_s32(words[i]));
      }
    }
    for (; column < columns; column += 4) {
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) to[column / 4 * kGroupBytes + 4 * i + j] = rows[i][column + j];
      }
    }
  }
}

// Of 16 rows of 16 bytes, the columns: four rounds of interleaving the first half with the second.
inline void Transpose16x16(int8x16_t rows[16]) {
  for (int round = 0; round < 4; ++round) {
    int8x16_t mixed[16];
    for (int i = 0; i < 8; ++i) {
      mixed[2 * i] = vzip1q_s8(rows[i], rows[i + 8]);
      mixed[2 * i + 1] = vzip2q_s8(rows[i], rows[i + 8]);
    }
    for (int i = 0; i < 16; ++i) rows[i] = mixed[i];
  }
}

// [tokens][columns] -> [columns][tokens].
void PackColumns(const int8_t* values, ptrdiff_t stride, int live, int columns, uint8_t* out) {
  for (int token = 0; token < kTokens; token += 16) {
    const int8_t* rows[16];
    for (int i = 0; i < 16; ++i) {
      rows[i] = values + (token + i < live ? token + i : live - 1) * stride;
    }
    int8_t* to = reinterpret_cast<int8_t*>(out) + token;
    int column = 0;
    for (; column + 16 <= columns; column += 16) {
      int8x16_t block[16];
      for (int i = 0; i < 16; ++i) block[i] = vld1q_s8(rows[i] + column);
      Transpose16x16(block);
      for (int i = 0; i < 16; ++i) vst1q_s8(to + (column + i) * kTokens, block[i]);
    }
    for (; column < columns; ++column) {
      for (int i = 0; i < 16; ++i) to[column * kTokens + i] = rows[i][column];
    }
  }
}

void Pack(Layout layout, const int8_t* values, ptrdiff_t stride, int live, int columns,
          uint8_t* out) {
  if (layout == Layout::kGroups) {
    PackGroups(values, stride, live, columns, out);
  } else {
    PackColumns(values, stride, live, columns, out);
  }
}

template <int kLane>
inline void AddGroup(const int8_t* activations, int8x16_t weights, int32x4_t sums[kSums]) {
  for (int i = 0; i < kSums; i += 4) {
    const int8x16x4_t values = vld1q_s8_x4(activations + 16 * i);
    for (int j = 0; j < 4; ++j) {
      sums[i + j] = vdotq_laneq_s32(sums[i + j], values.val[j], weights, kLane);
    }
  }
}

// Four columns of 16 tokens each are interleaved to four bytes of each token, then multiplied.
template <int kLane>
inline void AddColumns(const int8_t* activations, const uint16_t offsets[4], int8x16_t weights,
                       int32x4_t sums[kSums]) {
  for (int i = 0; i < kSums; i += 4) {
    const int8_t* from = activations + 4 * i;
    const int8x16_t a = vld1q_s8(from + offsets[0]), b = vld1q_s8(from + offsets[1]);
    const int8x16_t c = vld1q_s8(from + offsets[2]), d = vld1q_s8(from + offsets[3]);
    const int16x8_t ab[2] = {vreinterpretq_s16_s8(vzip1q_s8(a, b)),
                             vreinterpretq_s16_s8(vzip2q_s8(a, b))};
    const int16x8_t cd[2] = {vreinterpretq_s16_s8(vzip1q_s8(c, d)),
                             vreinterpretq_s16_s8(vzip2q_s8(c, d))};
    for (int half = 0; half < 2; ++half) {
      const int8x16_t low = vreinterpretq_s8_s16(vzip1q_s16(ab[half], cd[half]));
      const int8x16_t high = vreinterpretq_s8_s16(vzip2q_s16(ab[half], cd[half]));
      sums[i + 2 * half] = vdotq_laneq_s32(sums[i + 2 * half], low, weights, kLane);
      sums[i + 2 * half + 1] = vdotq_laneq_s32(sums[i + 2 * half + 1], high, weights, kLane);
    }
  }
}

template <Layout kLayout, int kLane>
inline void AddEntry(const AccumulateArgs& args, uint32_t entry, int8x16_t weights,
                     int32x4_t sums[kSums]) {
  const int8_t* activations = reinterpret_cast<const int8_t*>(args.activations);
  if (kLayout == Layout::kGroups) {
    AddGroup<kLane>(activations + args.offsets[entry], weights, sums);
  } else {
    AddColumns<kLane>(activations, args.offsets + 4 * entry, weights, sums);
  }
}

template <Layout kLayout>
void AccumulateLayout(const AccumulateArgs& args) {
  for (int place = args.row_begin; place < args.row_end; ++place) {
    int32_t* to = args.sums + ptrdiff_t{args.order[place] - args.row_begin} * kTokens;
    int32x4_t sums[kSums];
    for (int i = 0; i < kSums; ++i) sums[i] = args.add ? vld1q_s32(to + 4 * i) : vdupq_n_s32(0);
    uint32_t entry = args.starts[place];
    const uint32_t end = args.starts[place + 1];
    for (; entry + 4 <= end; entry += 4) {
      const int8x16_t weights = vld1q_s8(args.weights + 4 * entry);
      AddEntry<kLayout, 0>(args, entry, weights, sums);
      AddEntry<kLayout, 1>(args, entry + 1, weights, sums);
      AddEntry<kLayout, 2>(args, entry + 2, weights, sums);
      AddEntry<kLayout, 3>(args, entry + 3, weights, sums);
    }
    for (; entry < end; ++entry) {
      const int8x16_t weights = vreinterpretq_s8_s32(
          vld1q_dup_s32(reinterpret_cast<const int32_t*>(args.weights + 4 * entry)));
      AddEntry<kLayout, 0>(args, entry, weights, sums);
    }
    for (int i = 0; i < kSums; ++i) vst1q_s32(to + 4 * i, sums[i]);
  }
}

void Accumulate(const AccumulateArgs& args) {
  if (args.layout == Layout::kGroups) {
    AccumulateLayout<Layout::kGroups>(args);
  } else {
    AccumulateLayout<Layout::kColumns>(args);
  }
}

void FinishFloat(const FinishFloatArgs& args) { FinishFloatNeon(args, kTokens, true); }

void FinishInt8(const FinishInt8Args& args) { FinishInt8Neon(args, kTokens); }

}  // namespace

const Kernels* NeonDotKernels() {
  static constexpr Kernels kernels = {
      "neondot",    kTokens, /*sample_bytes=*/1, /*unsigned_offset=*/0, /*has_columns=*/true,
      kTileColumns, HasDot,  QuantizeNeonAsKleidiAi, Pack, Accumulate, FinishFloat, FinishInt8,
      /*requantizes_rows=*/false, /*rounds_as_kleidiai=*/true, /*narrow_tokens=*/0,
      &kNeonDotEncoderKernels};
  return &kernels;
}

// The same. SMMLA multiplies two rows of weights by the same eight columns, twice the products of
// SDOT: dense layers are faster by that much, so that other costs hold on such processors. Sparse
// rows do not share columns: docs/experiments/delegate_arm.md has what a pair of rows would cost.
const Kernels* NeonI8mmKernels() {
  static constexpr Kernels kernels = {
      "i8mm",       kTokens, /*sample_bytes=*/1, /*unsigned_offset=*/0, /*has_columns=*/true,
      kTileColumns, HasI8mm, QuantizeNeonAsKleidiAi, Pack, Accumulate, FinishFloat, FinishInt8,
      /*requantizes_rows=*/false, /*rounds_as_kleidiai=*/true, /*narrow_tokens=*/0,
      &kNeonDotEncoderKernels};
  return &kernels;
}

}  // namespace tf_prune_ofa
