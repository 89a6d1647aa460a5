// NEON as every aarch64 processor has it. Without dot products a product of 16-bit numbers by one
// weight, SMLAL by element, is the instruction that adds most products to 32-bit sums: four, exactly
// and with nothing to add up afterwards. SMULL and SADALP of bytes come to four as well, but need
// groups of columns, which SMLAL does not: zeros anywhere cost nothing here.

#include "neon_common.h"

#include <arm_neon.h>

#include "encoder_kernel.h"

namespace tf_prune_ofa {
namespace {

constexpr int kTokens = 32;
constexpr int kSums = kTokens / 4;
// Activations are packed as [columns][tokens] of 16 bits, for both layouts.
constexpr int kColumnBytes = 2 * kTokens;
// 24 KB, of the 32 KB of first-level cache that small cores have.
constexpr int kTileColumns = 384;

bool IsSupported() { return true; }

// Rows that are not live repeat the last one.
void Pack(Layout, const int8_t* values, ptrdiff_t stride, int live, int columns, uint8_t* out) {
  for (int token = 0; token < kTokens; token += 8) {
    const int8_t* rows[8];
    for (int i = 0; i < 8; ++i) {
      rows[i] = values + (token + i < live ? token + i : live - 1) * stride;
    }
    int16_t* to = reinterpret_cast<int16_t*>(out) + token;
    int column = columns / 8 * 8;
    PackEightRows(rows, column, kTokens, to);
    for (; column < columns; ++column) {
      for (int i = 0; i < 8; ++i) to[column * kTokens + i] = rows[i][column];
    }
  }
}

// One column of all tokens times one weight.
template <int kLane>
inline void AddColumn(const uint8_t* column, int16x8_t weights, int32x4_t sums[kSums]) {
  const int16_t* from = reinterpret_cast<const int16_t*>(column);
  for (int i = 0; i < kSums; i += 2) {
    const int16x8_t values = vld1q_s16(from + 4 * i);
    sums[i] = vmlal_laneq_s16(sums[i], vget_low_s16(values), weights, kLane);
    sums[i + 1] = vmlal_high_laneq_s16(sums[i + 1], values, weights, kLane);
  }
}

// The four columns of one entry; its weights are in lanes kLane to kLane + 3.
template <Layout kLayout, int kLane>
inline void AddEntry(const AccumulateArgs& args, uint32_t entry, int16x8_t weights,
                     int32x4_t sums[kSums]) {
  const uint8_t* columns[4];
  for (int i = 0; i < 4; ++i) {
    columns[i] = args.activations + (kLayout == Layout::kGroups
                                         ? args.offsets[entry] + i * kColumnBytes
                                         : args.offsets[4 * entry + i]);
  }
  AddColumn<kLane>(columns[0], weights, sums);
  AddColumn<kLane + 1>(columns[1], weights, sums);
  AddColumn<kLane + 2>(columns[2], weights, sums);
  AddColumn<kLane + 3>(columns[3], weights, sums);
}

template <Layout kLayout>
void AccumulateLayout(const AccumulateArgs& args) {
  for (int place = args.row_begin; place < args.row_end; ++place) {
    int32_t* to = args.sums + ptrdiff_t{args.order[place] - args.row_begin} * kTokens;
    int32x4_t sums[kSums];
    for (int i = 0; i < kSums; ++i) sums[i] = args.add ? vld1q_s32(to + 4 * i) : vdupq_n_s32(0);
    uint32_t entry = args.starts[place];
    const uint32_t end = args.starts[place + 1];
    for (; entry + 2 <= end; entry += 2) {
      const int16x8_t weights = vmovl_s8(vld1_s8(args.weights + 4 * entry));
      AddEntry<kLayout, 0>(args, entry, weights, sums);
      AddEntry<kLayout, 4>(args, entry + 1, weights, sums);
    }
    if (entry < end) {
      const int16x8_t weights = vmovl_s8(vreinterpret_s8_s32(
          vld1_dup_s32(reinterpret_cast<const int32_t*>(args.weights + 4 * entry))));
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

void FinishFloat(const FinishFloatArgs& args) { FinishFloatNeon(args, kTokens, false); }

void FinishInt8(const FinishInt8Args& args) { FinishInt8Neon(args, kTokens); }

}  // namespace

const Kernels* NeonKernels() {
  static constexpr Kernels kernels = {
      "neon",       kTokens, /*sample_bytes=*/2, /*unsigned_offset=*/0, /*has_columns=*/true,
      kTileColumns, IsSupported, QuantizeNeon, Pack, Accumulate, FinishFloat, FinishInt8,
      /*requantizes_rows=*/false, /*rounds_as_kleidiai=*/false, /*narrow_tokens=*/0,
      &kNeonEncoderKernels};
  return &kernels;
}

namespace {

template <bool kAsKleidiAi>
RowQuantization Quantize(const float* values, int columns, int8_t* out) {
  float32x4_t low = vdupq_n_f32(0), high = vdupq_n_f32(0);
  int column = 0;
  for (; column + 4 <= columns; column += 4) {
    const float32x4_t x = vld1q_f32(values + column);
    low = vminnmq_f32(low, x);
    high = vmaxnmq_f32(high, x);
  }
  float minimum = vminvq_f32(low), maximum = vmaxvq_f32(high);
  for (int i = column; i < columns; ++i) {
    minimum = values[i] < minimum ? values[i] : minimum;
    maximum = values[i] > maximum ? values[i] : maximum;
  }
  float multiplier;
  const RowQuantization result = ChooseQuantization(minimum, maximum, &multiplier);
  const float32x4_t limit = vdupq_n_f32(static_cast<float>(127 - result.zero_point));
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(result.zero_point));
  const auto rounded = [](float32x4_t value) {
    return kAsKleidiAi ? vcvtaq_s32_f32(value) : vcvtnq_s32_f32(value);
  };
  // FMINNM takes the limit where a value is no number. FCVTNS rounds to nearest even, FCVTAS halves
  // away from zero; they, the narrowing moves and the addition saturate.
  const auto quantized = [&](const float* from) {
    const int32x4_t a =
        rounded(vminnmq_f32(vmulq_n_f32(vld1q_f32(from), multiplier), limit));
    const int32x4_t b =
        rounded(vminnmq_f32(vmulq_n_f32(vld1q_f32(from + 4), multiplier), limit));
    return vqmovn_s16(vqaddq_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)), zero_point));
  };
  column = 0;
  for (; column + 8 <= columns; column += 8) vst1_s8(out + column, quantized(values + column));
  if (column < columns) {
    float rest[8] = {};
    int8_t rest_out[8];
    for (int i = column; i < columns; ++i) rest[i - column] = values[i];
    vst1_s8(rest_out, quantized(rest));
    for (int i = column; i < columns; ++i) out[i] = rest_out[i - column];
  }
  return result;
}

// Four tokens of one row, as float results.
template <bool kAsKleidiAi>
inline float32x4_t Finished(const FinishFloatArgs& args, const int32_t* sums, int row, int token) {
  const int32x4_t correction =
      vmulq_n_s32(vld1q_s32(args.zero_points + token), args.row_sums[row]);
  const float32x4_t sum = vcvtq_f32_s32(vsubq_s32(vld1q_s32(sums + token), correction));
  const float32x4_t input_scale = vld1q_f32(args.input_scales + token);
  const float32x4_t bias = vdupq_n_f32(args.bias[row]);
  const float scale = args.scales[row];
  const float32x4_t result =
      kAsKleidiAi ? vaddq_f32(vmulq_f32(sum, vmulq_n_f32(input_scale, scale)), bias)
                        : vfmaq_n_f32(bias, vmulq_f32(sum, input_scale), scale);
  return vminq_f32(vmaxq_f32(result, vdupq_n_f32(args.minimum)), vdupq_n_f32(args.maximum));
}

// 16 tokens of one row, as INT8 results.
inline int8x16_t Finished(const FinishInt8Args& args, const int32_t* sums, int row, int token) {
  const int32x4_t start = vdupq_n_s32(args.starts[row]);
  const float32x4_t limit = vdupq_n_f32(static_cast<float>(args.maximum - args.zero_point));
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(args.zero_point));
  int16x4_t parts[4];
  for (int i = 0; i < 4; ++i) {
    const int32x4_t sum = vaddq_s32(vld1q_s32(sums + token + 4 * i), start);
    const float32x4_t value = vmulq_n_f32(vcvtq_f32_s32(sum), args.scales[row]);
    parts[i] = vqmovn_s32(vcvtnq_s32_f32(vminq_f32(value, limit)));
  }
  const int8x8_t low = vqmovn_s16(vqaddq_s16(vcombine_s16(parts[0], parts[1]), zero_point));
  const int8x8_t high = vqmovn_s16(vqaddq_s16(vcombine_s16(parts[2], parts[3]), zero_point));
  return vmaxq_s8(vcombine_s8(low, high), vdupq_n_s8(static_cast<int8_t>(args.minimum)));
}

template <bool kAsKleidiAi>
void FinishFloatAs(const FinishFloatArgs& args, int tokens) {
  int row = args.row_begin;
  const int32_t* sums = args.sums;
  for (; row + 4 <= args.row_end; row += 4, sums += 4 * tokens) {
    for (int token = 0; token < args.tokens; token += 4) {
      // Rows of four tokens -> tokens of four rows.
      float32x4_t r[4];
      for (int i = 0; i < 4; ++i) {
        r[i] = Finished<kAsKleidiAi>(args, sums + i * tokens, row + i, token);
      }
      const float32x4_t a = vzip1q_f32(r[0], r[2]), b = vzip2q_f32(r[0], r[2]);
      const float32x4_t c = vzip1q_f32(r[1], r[3]), d = vzip2q_f32(r[1], r[3]);
      const float32x4_t results[4] = {vzip1q_f32(a, c), vzip2q_f32(a, c), vzip1q_f32(b, d),
                                      vzip2q_f32(b, d)};
      for (int i = 0; i < 4 && token + i < args.tokens; ++i) {
        vst1q_f32(args.out + (token + i) * args.out_stride + row, results[i]);
      }
    }
  }
  for (; row < args.row_end; ++row, sums += tokens) {
    for (int token = 0; token < args.tokens; token += 4) {
      float results[4];
      vst1q_f32(results, Finished<kAsKleidiAi>(args, sums, row, token));
      for (int i = 0; i < 4 && token + i < args.tokens; ++i) {
        args.out[(token + i) * args.out_stride + row] = results[i];
      }
    }
  }
}

}  // namespace

void PackEightRows(const int8_t* const rows[8], int columns, ptrdiff_t next, int16_t* to) {
  for (int column = 0; column < columns; column += 8) {
    int16x8_t block[8];
    for (int i = 0; i < 8; ++i) block[i] = vmovl_s8(vld1_s8(rows[i] + column));
    // Three rounds of interleaving the first half with the second.
    for (int round = 0; round < 3; ++round) {
      int16x8_t mixed[8];
      for (int i = 0; i < 4; ++i) {
        mixed[2 * i] = vzip1q_s16(block[i], block[i + 4]);
        mixed[2 * i + 1] = vzip2q_s16(block[i], block[i + 4]);
      }
      for (int i = 0; i < 8; ++i) block[i] = mixed[i];
    }
    for (int i = 0; i < 8; ++i) vst1q_s16(to + (column + i) * next, block[i]);
  }
}

RowQuantization QuantizeNeon(const float* values, int columns, int8_t* out) {
  return Quantize<false>(values, columns, out);
}

RowQuantization QuantizeNeonAsKleidiAi(const float* values, int columns, int8_t* out) {
  return Quantize<true>(values, columns, out);
}

void FinishFloatNeon(const FinishFloatArgs& args, int tokens, bool rounds_as_kleidiai) {
  if (rounds_as_kleidiai) {
    FinishFloatAs<true>(args, tokens);
  } else {
    FinishFloatAs<false>(args, tokens);
  }
}

void FinishInt8Neon(const FinishInt8Args& args, int tokens) {
  int row = args.row_begin;
  const int32_t* sums = args.sums;
  for (; row + 4 <= args.row_end; row += 4, sums += 4 * tokens) {
    for (int token = 0; token < args.tokens; token += 16) {
      // Four rows of 16 tokens -> for each token the bytes of four rows.
      int8x16_t r[4];
      for (int i = 0; i < 4; ++i) r[i] = Finished(args, sums + i * tokens, row + i, token);
      const int8x16x2_t even = vzipq_s8(r[0], r[2]), odd = vzipq_s8(r[1], r[3]);
      int8_t results[64];
      for (int half = 0; half < 2; ++half) {
        const int8x16x2_t words = vzipq_s8(even.val[half], odd.val[half]);
        vst1q_s8(results + 32 * half, words.val[0]);
        vst1q_s8(results + 32 * half + 16, words.val[1]);
      }
      for (int i = 0; i < 16 && token + i < args.tokens; ++i) {
        __builtin_memcpy(args.out + (token + i) * args.out_stride + row, results + 4 * i, 4);
      }
    }
  }
  for (; row < args.row_end; ++row, sums += tokens) {
    for (int token = 0; token < args.tokens; token += 16) {
      int8_t results[16];
      vst1q_s8(results, Finished(args, sums, row, token));
      for (int i = 0; i < 16 && token + i < args.tokens; ++i) {
        args.out[(token + i) * args.out_stride + row] = results[i];
      }
    }
  }
}

}  // namespace tf_prune_ofa
