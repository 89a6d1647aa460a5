// INT8 attention on NEON, but for its products: four queries at a time, their scores stay in the
// first-level cache. For the sources that have products, each compiled for its instructions.
#ifndef TF_PRUNE_OFA_ATTEND_NEON_H_
#define TF_PRUNE_OFA_ATTEND_NEON_H_

#include <arm_neon.h>

#include "encoder_common.h"

namespace tf_prune_ofa {
namespace {

constexpr int kQueries = 4;
// Keys of one call of the products, and numbers of a head: rows of both are whole vectors of them.
constexpr int kKeys = 16;
constexpr int kNumbers = 16;

// ---- Softmax

// 2^(k / 64), to the nearest float.
struct PowersOfTwo {
  constexpr PowersOfTwo() : values() {
    double power = 1;
    for (float& value : values) {
      value = static_cast<float>(power);
      power *= 1.0108892860517004600204097905618605;
    }
  }
  float values[64];
};
constexpr PowersOfTwo kPowers;

// So many vectors go through exp together: cores that run in order wait for a result else.
constexpr int kTogether = 4;

inline float32x4_t Power(int32x4_t places) {
  const uint64x2_t pairs = vreinterpretq_u64_s32(places);
  float32x2_t halves[2];
  const uint64_t pair[2] = {vgetq_lane_u64(pairs, 0), vgetq_lane_u64(pairs, 1)};
  for (int i = 0; i < 2; ++i) {
    halves[i] = vld1_dup_f32(kPowers.values + static_cast<uint32_t>(pair[i]));
    halves[i] = vld1_lane_f32(kPowers.values + (pair[i] >> 32), halves[i], 1);
  }
  return vcombine_f32(halves[0], halves[1]);
}

// XNNPACK's exp of numbers up to 0: a power of 2 in steps of 1/64 by table, a parabola between them.
inline void Exp(float32x4_t x[kTogether]) {
  const float32x4_t bias = vdupq_n_f32(0x1.800000p17f);
  float32x4_t n[kTogether], s[kTogether], t[kTogether];
  int32x4_t bits[kTogether];
  for (int i = 0; i < kTogether; ++i) n[i] = vfmaq_n_f32(bias, x[i], 0x1.715476p+0f);
  for (int i = 0; i < kTogether; ++i) bits[i] = vreinterpretq_s32_f32(n[i]);
  for (int i = 0; i < kTogether; ++i) s[i] = Power(vandq_s32(bits[i], vdupq_n_s32(63)));
  for (int i = 0; i < kTogether; ++i) bits[i] = vshlq_n_s32(vbicq_s32(bits[i], vdupq_n_s32(63)), 17);
  for (int i = 0; i < kTogether; ++i) {
    s[i] = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(s[i]), bits[i]));
  }
  for (int i = 0; i < kTogether; ++i) n[i] = vsubq_f32(n[i], bias);
  for (int i = 0; i < kTogether; ++i) t[i] = vfmaq_n_f32(x[i], n[i], -0x1.62E430p-1f);
  for (int i = 0; i < kTogether; ++i) n[i] = vmulq_n_f32(t[i], 0x1.FFFF0Ap-2f);
  for (int i = 0; i < kTogether; ++i) n[i] = vfmaq_f32(t[i], t[i], n[i]);
  for (int i = 0; i < kTogether; ++i) n[i] = vfmaq_f32(s[i], s[i], n[i]);
  for (int i = 0; i < kTogether; ++i) {
    const uint32x4_t is_zero = vcltq_f32(x[i], vdupq_n_f32(-0x1.5D589Ep6f));
    x[i] = vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(n[i]), is_zero));
  }
}

// What a row's exponentials are multiplied with to become quantized probabilities' floats: 1 / sum.
// Where there is no token a score is -infinity, and its exponential 0.
inline float Exponentiate(const AttendArgs& args, float largest, int padded, float* scores) {
  const float32x4_t top = vdupq_n_f32(largest);
  float32x4_t sums = vdupq_n_f32(0), rest = vdupq_n_f32(0);
  // Four sums as far as the file's rows have four numbers, the rest behind.
  const int whole = args.length / 4 * 4;
  for (int k = 0; k < padded; k += 4 * kTogether) {
    float32x4_t f[kTogether];
    for (int i = 0; i < kTogether; ++i) f[i] = vsubq_f32(vld1q_f32(scores + k + 4 * i), top);
    Exp(f);
    for (int i = 0; i < kTogether; ++i) {
      vst1q_f32(scores + k + 4 * i, f[i]);
      if (k + 4 * i < whole) {
        sums = vaddq_f32(sums, f[i]);
      } else if (k + 4 * i == whole) {
        rest = f[i];
      }
    }
  }
  float sum = vaddvq_f32(sums);
  float32x2_t two = vget_low_f32(rest);
  if (args.length % 4 >= 2) {
    sum += vaddv_f32(two);
    two = vget_high_f32(rest);
  }
  if (args.length % 2 == 1) sum += vget_lane_f32(two, 0);
  return 1.0f / sum;
}

// Eight probabilities, quantized, with 128 added: from 0 to 255.
inline int16x8_t Probabilities(const AttendArgs& args, const float* from, float share) {
  int16x4_t halves[2];
  for (int i = 0; i < 2; ++i) {
    const float32x4_t p = vmulq_n_f32(vld1q_f32(from + 4 * i), share);
    halves[i] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(p, args.probability_multiplier)));
  }
  return vminq_s16(vcombine_s16(halves[0], halves[1]), vdupq_n_s16(255));
}

// ---- Sums that become scores and results

// Products become scores: quantized, taken back to float and masked.
inline float32x4_t Score(const AttendArgs& args, int32x4_t sum, int key) {
  const float32x4_t most = vdupq_n_f32(static_cast<float>(127 - args.score_zero));
  const float32x4_t least = vdupq_n_f32(static_cast<float>(-128 - args.score_zero));
  const float32x4_t y = vmulq_n_f32(vcvtq_f32_s32(sum), args.score_scale);
  const float32x4_t q = vrndnq_f32(vmaxq_f32(vminq_f32(y, most), least));
  return vaddq_f32(vmulq_n_f32(q, args.score_step), vld1q_f32(args.mask + key));
}

inline int8x16_t Requantize(const AttendArgs& args, const int32x4_t sums[4]) {
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.out_zero));
  int16x4_t parts[4];
  for (int i = 0; i < 4; ++i) {
    parts[i] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vcvtq_f32_s32(sums[i]), args.out_scale)));
  }
  return vcombine_s8(vqmovn_s16(vqaddq_s16(vcombine_s16(parts[0], parts[1]), zero)),
                     vqmovn_s16(vqaddq_s16(vcombine_s16(parts[2], parts[3]), zero)));
}

// ---- A head

// Products has for the keys and values of one head, packed in its constructor: Score, the scores of
// four queries with 16 keys; Mix, 16 numbers of four results; and how it wants probabilities.
template <typename Products>
void AttendWith(const AttendArgs& args) {
  const int padded = RoundUp(args.tokens, kKeys);
  auto* scores = reinterpret_cast<float*>(args.scratch);
  auto* probabilities =
      reinterpret_cast<typename Products::Probability*>(scores + kQueries * padded);
  const Products products(args, padded, reinterpret_cast<uint8_t*>(probabilities + kQueries * padded));
  for (int t = 0; t < args.tokens; t += kQueries) {
    const QueryRows<kQueries> rows(args, t);
    float32x4_t largest[kQueries];
    for (auto& of_query : largest) of_query = vdupq_n_f32(-__builtin_inff());
    const typename Products::Queries prepared(args, rows.queries);
    for (int k = 0; k < padded; k += kKeys) {
      int32x4_t sums[kQueries][4];
      products.Score(prepared, k, sums);
      for (int q = 0; q < kQueries; ++q) {
        for (int i = 0; i < 4; ++i) {
          const float32x4_t y = Score(args, sums[q][i], k + 4 * i);
          largest[q] = vmaxq_f32(largest[q], y);
          vst1q_f32(scores + q * padded + k + 4 * i, y);
        }
      }
    }
    for (int q = 0; q < kQueries; ++q) {
      float* of_query = scores + q * padded;
      const float share = Exponentiate(args, vmaxvq_f32(largest[q]), padded, of_query);
      for (int k = 0; k < padded; k += 8) {
        Products::Store(Probabilities(args, of_query + k, share), probabilities + q * padded + k);
      }
    }
    for (int n = 0; n < args.dim; n += kNumbers) {
      int32x4_t sums[kQueries][4];
      products.Mix(probabilities, n, sums);
      for (int q = 0; q < kQueries; ++q) vst1q_s8(rows.outs[q] + n, Requantize(args, sums[q]));
    }
  }
}

template <typename Products>
size_t ScratchBytes(int tokens, int dim) {
  const size_t padded = RoundUp(tokens, kKeys);
  return padded * kQueries * (sizeof(float) + sizeof(typename Products::Probability)) +
         Products::Bytes(tokens, dim);
}

inline bool CanAttend(int dim) { return dim == 32 || dim == 64; }

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ATTEND_NEON_H_
