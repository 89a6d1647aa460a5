// Attention's products on NEON without dot products: SMLAL by element, of 16-bit numbers.
#include "attend_neon.h"
#include "encoder_neon.h"
#include "neon_common.h"

namespace tf_prune_ofa {
namespace {

class LongProducts {
 public:
  using Probability = int16_t;  // from 0 to 255

  // [dim / 8][4][8], without their zero point.
  struct Queries {
    Queries(const AttendArgs& args, const int8_t* const* queries) {
      const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.query_zero));
      for (int d = 0; d < args.dim; d += 8) {
        for (int q = 0; q < kQueries; ++q) {
          vst1q_s16(numbers + kQueries * d + 8 * q,
                    vsubq_s16(vmovl_s8(vld1_s8(queries[q] + d)), zero));
        }
      }
    }
    int16_t numbers[kQueries * 64];
  };

  static size_t Bytes(int tokens, int dim) {
    return size_t{2} * sizeof(int16_t) * RoundUp(tokens, kKeys) * dim;
  }

  LongProducts(const AttendArgs& args, int padded, uint8_t* scratch)
      : args_(args), padded_(padded) {
    keys_ = reinterpret_cast<int16_t*>(scratch);
    values_ = keys_ + ptrdiff_t{padded} * args.dim;
    PackKeys();
    PackValues();
  }

  static void Store(int16x8_t probabilities, int16_t* to) { vst1q_s16(to, probabilities); }

  void Score(const Queries& queries, int k, int32x4_t sums[kQueries][4]) const {
    const int16_t* keys = keys_ + k * ptrdiff_t{args_.dim};
    Multiply(keys, queries.numbers, 8, 4 * 8, args_.dim, sums);
  }

  void Mix(const int16_t* probabilities, int n, int32x4_t sums[kQueries][4]) const {
    Multiply(values_ + ptrdiff_t{n} * padded_, probabilities, padded_, 8, padded_, sums);
  }

 private:
  // Rows of 16 numbers, each times one number of four vectors; these come in eights, `vector` and
  // `next` numbers apart.
  static void Multiply(const int16_t* rows, const int16_t* x, int vector, int next, int count,
                       int32x4_t sums[kQueries][4]) {
    for (int q = 0; q < kQueries; ++q) {
      for (int i = 0; i < 4; ++i) sums[q][i] = vdupq_n_s32(0);
    }
    for (int r = 0; r < count; r += 8, x += next, rows += 8 * 16) {
      int16x8_t eights[kQueries];
      for (int q = 0; q < kQueries; ++q) eights[q] = vld1q_s16(x + ptrdiff_t{q} * vector);
      AddRow<0>(rows, eights, sums);
      AddRow<1>(rows, eights, sums);
      AddRow<2>(rows, eights, sums);
      AddRow<3>(rows, eights, sums);
      AddRow<4>(rows, eights, sums);
      AddRow<5>(rows, eights, sums);
      AddRow<6>(rows, eights, sums);
      AddRow<7>(rows, eights, sums);
    }
  }

  template <int kLane>
  static void AddRow(const int16_t* rows, const int16x8_t x[kQueries],
                     int32x4_t sums[kQueries][4]) {
    for (int i = 0; i < 4; i += 2) {
      const int16x8_t y = vld1q_s16(rows + 16 * kLane + 4 * i);
      for (int q = 0; q < kQueries; ++q) {
        sums[q][i] = vmlal_laneq_s16(sums[q][i], vget_low_s16(y), x[q], kLane);
        sums[q][i + 1] = vmlal_high_laneq_s16(sums[q][i + 1], y, x[q], kLane);
      }
    }
  }

  // [padded / 16][dim][16]; where there is no token, the last one.
  void PackKeys() {
    for (int k = 0; k < padded_; k += 8) {
      const int8_t* tokens[8];
      for (int i = 0; i < 8; ++i) {
        const ptrdiff_t token = k + i < args_.tokens ? k + i : args_.tokens - 1;
        tokens[i] = args_.keys + token * args_.stride;
      }
      PackEightRows(tokens, args_.dim, kKeys,
                    keys_ + k / kKeys * kKeys * ptrdiff_t{args_.dim} + k % kKeys);
    }
  }

  // [dim / 16][padded][16]; where there is no token, the last one, whose probability there is 0.
  void PackValues() {
    for (int n = 0; n < args_.dim; n += kNumbers) {
      int16_t* to = values_ + ptrdiff_t{n} * padded_;
      for (int k = 0; k < padded_; ++k, to += kNumbers) {
        const ptrdiff_t token = k < args_.tokens ? k : args_.tokens - 1;
        const int8x16_t row = vld1q_s8(args_.values + token * args_.stride + n);
        vst1q_s16(to, vmovl_s8(vget_low_s8(row)));
        vst1q_s16(to + 8, vmovl_s8(vget_high_s8(row)));
      }
    }
  }

  const AttendArgs& args_;
  const int padded_;
  int16_t *keys_, *values_;
};

}  // namespace

const EncoderKernels kNeonEncoderKernels = {
    CanAttend,        ScratchBytes<LongProducts>, AttendWith<LongProducts>,
    CanNormalizeNeon, NormalizeNeon,              LookUpNeon,
};

}  // namespace tf_prune_ofa
