// Attention's products with SDOT: four at a time, of signed bytes.
#include "attend_neon.h"
#include "encoder_neon.h"
#include "kernel.h"

namespace tf_prune_ofa {
namespace {

constexpr int kTile = 64;  // keys that Kernels::pack makes one tile of

class DotProducts {
 public:
  using Probability = int8_t;  // as the file has them: 128 less

  struct Queries {
    Queries(const AttendArgs&, const int8_t* const* queries_in) : queries(queries_in) {}
    const int8_t* const* queries;
  };

  static size_t Bytes(int tokens, int dim) {
    return size_t{2} * RoundUp(tokens, kTile) * dim +
           sizeof(int32_t) * (RoundUp(tokens, kTile) + dim);
  }

  DotProducts(const AttendArgs& args, int padded, uint8_t* scratch) : args_(args), padded_(padded) {
    const ptrdiff_t size = ptrdiff_t{RoundUp(args.tokens, kTile)} * args.dim;
    keys_ = scratch;
    values_ = reinterpret_cast<int8_t*>(scratch + size);
    key_starts_ = reinterpret_cast<int32_t*>(scratch + 2 * size);
    value_starts_ = key_starts_ + RoundUp(args.tokens, kTile);
    PackKeys();
    PackValues();
  }

  static void Store(int16x8_t probabilities, int8_t* to) {
    vst1_s8(to, vmovn_s16(vsubq_s16(probabilities, vdupq_n_s16(128))));
  }

  void Score(const Queries& queries, int k, int32x4_t sums[kQueries][4]) const {
    for (int i = 0; i < 4; ++i) {
      const int32x4_t start = vld1q_s32(key_starts_ + k + 4 * i);
      for (int q = 0; q < kQueries; ++q) sums[q][i] = start;
    }
    const uint8_t* keys = keys_ + k / kTile * kTile * ptrdiff_t{args_.dim} + 4 * (k % kTile);
    for (int d = 0; d < args_.dim; d += 16, keys += 16 * kTile) {
      int8x16_t x[kQueries];
      for (int q = 0; q < kQueries; ++q) x[q] = vld1q_s8(queries.queries[q] + d);
      AddFour<0>(keys, x, sums);
      AddFour<1>(keys + 4 * kTile, x, sums);
      AddFour<2>(keys + 8 * kTile, x, sums);
      AddFour<3>(keys + 12 * kTile, x, sums);
    }
  }

  void Mix(const int8_t* probabilities, int n, int32x4_t sums[kQueries][4]) const {
    for (int i = 0; i < 4; ++i) {
      const int32x4_t start = vld1q_s32(value_starts_ + n + 4 * i);
      for (int q = 0; q < kQueries; ++q) sums[q][i] = start;
    }
    const auto* values = reinterpret_cast<const uint8_t*>(values_) + ptrdiff_t{n} * padded_;
    for (int k = 0; k < padded_; k += 16, values += 256) {
      int8x16_t x[kQueries];
      for (int q = 0; q < kQueries; ++q) x[q] = vld1q_s8(probabilities + q * padded_ + k);
      AddFour<0>(values, x, sums);
      AddFour<1>(values + 64, x, sums);
      AddFour<2>(values + 128, x, sums);
      AddFour<3>(values + 192, x, sums);
    }
  }

 private:
  // 16 rows of four bytes times the four bytes in one lane of each of four vectors.
  template <int kLane>
  static void AddFour(const uint8_t* rows, const int8x16_t x[kQueries],
                      int32x4_t sums[kQueries][4]) {
    for (int i = 0; i < 4; ++i) {
      const int8x16_t y = vreinterpretq_s8_u8(vld1q_u8(rows + 16 * i));
      for (int q = 0; q < kQueries; ++q) sums[q][i] = vdotq_laneq_s32(sums[q][i], y, x[q], kLane);
    }
  }

  // [padded / 64][dim / 4][64][4], and what the query's zero point takes away from their products.
  void PackKeys() {
    for (int k = 0; k < args_.tokens; k += kTile) {
      const int live = args_.tokens - k < kTile ? args_.tokens - k : kTile;
      uint8_t* tile = keys_ + k * ptrdiff_t{args_.dim};
      NeonDotKernels()->pack(Layout::kGroups, args_.keys + k * args_.stride, args_.stride, live,
                             args_.dim, tile);
      for (int i = 0; i < kTile; i += 4) {
        int32x4_t sum = vdupq_n_s32(0);
        for (int g = 0; g < args_.dim / 4; ++g) {
          const uint8_t* four = tile + 4 * (kTile * g + i);
          sum = vdotq_s32(sum, vreinterpretq_s8_u8(vld1q_u8(four)), vdupq_n_s8(1));
        }
        vst1q_s32(key_starts_ + k + i, vmulq_n_s32(sum, -args_.query_zero));
      }
    }
  }

  // [dim / 16][padded / 4][16][4], 0 where there is no token; and 128 times their sums, which
  // probabilities lack.
  void PackValues() {
    const int8x16_t none = vdupq_n_s8(0);
    for (int n = 0; n < args_.dim; n += kNumbers) {
      int8_t* to = values_ + ptrdiff_t{n} * padded_;
      int32x4_t sums[4];
      for (auto& sum : sums) sum = vdupq_n_s32(0);
      for (int k = 0; k < padded_; k += 4, to += 64) {
        int8x16x4_t rows;
        for (int i = 0; i < 4; ++i) {
          rows.val[i] =
              k + i < args_.tokens ? vld1q_s8(args_.values + (k + i) * args_.stride + n) : none;
        }
        vst4q_s8(to, rows);
        for (int i = 0; i < 4; ++i) {
          sums[i] = vdotq_s32(sums[i], vld1q_s8(to + 16 * i), vdupq_n_s8(1));
        }
      }
      for (int i = 0; i < 4; ++i) vst1q_s32(value_starts_ + n + 4 * i, vshlq_n_s32(sums[i], 7));
    }
  }

  const AttendArgs& args_;
  const int padded_;
  uint8_t* keys_;
  int8_t* values_;
  int32_t *key_starts_, *value_starts_;
};

}  // namespace

const EncoderKernels kNeonDotEncoderKernels = {
    CanAttend,        ScratchBytes<DotProducts>, AttendWith<DotProducts>,
    CanNormalizeNeon, NormalizeNeon,             LookUpNeon,
};

}  // namespace tf_prune_ofa
