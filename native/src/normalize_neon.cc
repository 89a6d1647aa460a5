// LayerNorm behind an addition, and tables of 256 bytes, on NEON.
#include <arm_neon.h>

#include <cmath>

#include "encoder_common.h"
#include "encoder_neon.h"

namespace tf_prune_ofa {
namespace {

constexpr int kAtATime = 16;

// Of 16 sums: halves are added until one is left, as XNNPACK does.
inline float ReduceAdd(const float32x4_t sums[4]) {
  const float32x4_t four =
      vaddq_f32(vaddq_f32(sums[0], sums[2]), vaddq_f32(sums[1], sums[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(vpadd_f32(two, two), 0);
}

// Four times four numbers: the sum that is normalized.
template <Second kSecond>
inline void LoadSum(const NormalizeArgs& args, ptrdiff_t place, float32x4_t x[4]) {
  for (int i = 0; i < 4; ++i) x[i] = vld1q_f32(args.a + place + 4 * i);
  if (kSecond == Second::kFloat) {
    for (int i = 0; i < 4; ++i) x[i] = vaddq_f32(x[i], vld1q_f32(args.b + place + 4 * i));
  }
  if (kSecond == Second::kBytes) {
    const int8x16_t bytes = vld1q_s8(args.b_bytes + place);
    const int16x8_t halves[2] = {vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes))};
    const int32x4_t zero = vdupq_n_s32(args.b_zero);
    for (int i = 0; i < 4; ++i) {
      const int16x8_t half = halves[i / 2];
      const int32x4_t q =
          i % 2 == 0 ? vmovl_s16(vget_low_s16(half)) : vmovl_s16(vget_high_s16(half));
      x[i] = vaddq_f32(x[i], vmulq_n_f32(vcvtq_f32_s32(vsubq_s32(q, zero)), args.b_scale));
    }
  }
}

// Conversion rounds to the nearest even number; it, the narrowing moves and the addition saturate.
inline int8x16_t Quantize(const float32x4_t y[4], float multiplier, int16x8_t zero) {
  int16x4_t parts[4];
  for (int i = 0; i < 4; ++i) parts[i] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(y[i], multiplier)));
  return vcombine_s8(vqmovn_s16(vqaddq_s16(vcombine_s16(parts[0], parts[1]), zero)),
                     vqmovn_s16(vqaddq_s16(vcombine_s16(parts[2], parts[3]), zero)));
}

template <Second kSecond>
void NormalizeToken(const NormalizeArgs& args, int token, float* x) {
  const ptrdiff_t begin = static_cast<ptrdiff_t>(token) * args.columns;
  float32x4_t sums[4];
  for (auto& sum : sums) sum = vdupq_n_f32(0);
  for (int c = 0; c < args.columns; c += kAtATime) {
    float32x4_t v[4];
    LoadSum<kSecond>(args, begin + c, v);
    for (int i = 0; i < 4; ++i) {
      sums[i] = vaddq_f32(sums[i], v[i]);
      vst1q_f32(x + c + 4 * i, v[i]);
    }
  }
  const float share = 1.0f / static_cast<float>(args.columns);
  const float32x4_t mean = vdupq_n_f32(ReduceAdd(sums) * share);
  for (auto& sum : sums) sum = vdupq_n_f32(0);
  for (int c = 0; c < args.columns; c += kAtATime) {
    for (int i = 0; i < 4; ++i) {
      const float32x4_t d = vsubq_f32(vld1q_f32(x + c + 4 * i), mean);
      vst1q_f32(x + c + 4 * i, d);
      sums[i] = vaddq_f32(sums[i], vmulq_f32(d, d));
    }
  }
  const float root = 1.0f / std::sqrt(ReduceAdd(sums) * share + args.epsilon);
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.out_zero));
  for (int c = 0; c < args.columns; c += kAtATime) {
    float32x4_t y[4];
    for (int i = 0; i < 4; ++i) {
      const int n = c + 4 * i;
      y[i] = vmulq_f32(vmulq_n_f32(vld1q_f32(x + n), root), vld1q_f32(args.gamma + n));
      y[i] = vaddq_f32(y[i], vld1q_f32(args.beta + n));
      if (args.out != nullptr) vst1q_f32(args.out + begin + n, y[i]);
    }
    if (args.out_bytes == nullptr) continue;
    vst1q_s8(args.out_bytes + begin + c, Quantize(y, args.out_multiplier, zero));
  }
}

}  // namespace

bool CanNormalizeNeon(int columns) { return columns % kAtATime == 0 && columns <= kMostColumns; }

void NormalizeNeon(const NormalizeArgs& args) {
  NormalizeTokens(args, [&args](auto second, int token, float* x) {
    NormalizeToken<decltype(second)::value>(args, token, x);
  });
}

void LookUpNeon(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  uint8x16x4_t quarters[4];
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      quarters[i].val[j] = vreinterpretq_u8_s8(vld1q_s8(table + 64 * i + 16 * j));
    }
  }
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    // What is beyond its 64 bytes a look-up leaves as it is, or 0.
    const uint8x16_t x = veorq_u8(vreinterpretq_u8_s8(vld1q_s8(in + i)), vdupq_n_u8(0x80));
    uint8x16_t y = vqtbl4q_u8(quarters[0], x);
    y = vqtbx4q_u8(y, quarters[1], vsubq_u8(x, vdupq_n_u8(64)));
    y = vqtbx4q_u8(y, quarters[2], vsubq_u8(x, vdupq_n_u8(128)));
    y = vqtbx4q_u8(y, quarters[3], vsubq_u8(x, vdupq_n_u8(192)));
    vst1q_s8(out + i, vreinterpretq_s8_u8(y));
  }
  for (; i < count; ++i) out[i] = table[in[i] + 128];
}

}  // namespace tf_prune_ofa
