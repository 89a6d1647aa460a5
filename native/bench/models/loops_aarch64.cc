// The inner loops of an SDOT processor, marked for llvm-mca: dense ones as the runtime's are (8 tokens
// by 12 rows in registers), and those of kernels_neon_dot.cc. Never run; see model_cycles.py.
#include <arm_neon.h>

#include <cstdint>

#define BEGIN(name) asm volatile("# LLVM-MCA-BEGIN " name ::: "memory");
#define END asm volatile("# LLVM-MCA-END" ::: "memory");
#define UNROLL _Pragma("GCC unroll 24")

namespace {

template <int kCount>
inline void Load(const int32_t* from, int32x4_t* sums) {
  UNROLL
  for (int i = 0; i < kCount; ++i) sums[i] = vld1q_s32(from + 4 * i);
}

template <int kCount>
inline void Store(const int32x4_t* sums, int32_t* to) {
  UNROLL
  for (int i = 0; i < kCount; ++i) vst1q_s32(to + 4 * i, sums[i]);
}

template <int kLane>
inline void AddColumns(const int8_t* x, const uint16_t* offsets, int8x16_t w, int32x4_t* sums) {
  UNROLL
  for (int i = 0; i < 16; i += 4) {
    const int8_t* from = x + 4 * i;
    const int8x16_t a = vld1q_s8(from + offsets[0]), b = vld1q_s8(from + offsets[1]);
    const int8x16_t c = vld1q_s8(from + offsets[2]), d = vld1q_s8(from + offsets[3]);
    const int16x8_t ab[2] = {vreinterpretq_s16_s8(vzip1q_s8(a, b)),
                             vreinterpretq_s16_s8(vzip2q_s8(a, b))};
    const int16x8_t cd[2] = {vreinterpretq_s16_s8(vzip1q_s8(c, d)),
                             vreinterpretq_s16_s8(vzip2q_s8(c, d))};
    UNROLL
    for (int half = 0; half < 2; ++half) {
      const int8x16_t low = vreinterpretq_s8_s16(vzip1q_s16(ab[half], cd[half]));
      const int8x16_t high = vreinterpretq_s8_s16(vzip2q_s16(ab[half], cd[half]));
      sums[i + 2 * half] = vdotq_laneq_s32(sums[i + 2 * half], low, w, kLane);
      sums[i + 2 * half + 1] = vdotq_laneq_s32(sums[i + 2 * half + 1], high, w, kLane);
    }
  }
}

template <int kLane>
inline void AddGroup(const int8_t* x, int8x16_t w, int32x4_t* sums) {
  UNROLL
  for (int i = 0; i < 16; i += 4) {
    const int8x16x4_t values = vld1q_s8_x4(x + 16 * i);
    UNROLL
    for (int j = 0; j < 4; ++j) {
      sums[i + j] = vdotq_laneq_s32(sums[i + j], values.val[j], w, kLane);
    }
  }
}

}  // namespace

extern "C" void DenseSdot(const int8_t* tokens, const int8_t* rows, int columns, int32_t* out) {
  int32x4_t sums[24];
  Load<24>(out, sums);
  for (; columns > 0; columns -= 4) {
    BEGIN("dense_sdot")  // 8 * 12 * 4 products
    const int8x16x2_t a = vld1q_s8_x2(tokens);
    const int8x16x3_t b = vld1q_s8_x3(rows);
    tokens += 32;
    rows += 48;
#define TOKEN(t)                                                                     \
  sums[3 * t] = vdotq_laneq_s32(sums[3 * t], b.val[0], a.val[t / 4], t % 4);         \
  sums[3 * t + 1] = vdotq_laneq_s32(sums[3 * t + 1], b.val[1], a.val[t / 4], t % 4); \
  sums[3 * t + 2] = vdotq_laneq_s32(sums[3 * t + 2], b.val[2], a.val[t / 4], t % 4);
    TOKEN(0) TOKEN(1) TOKEN(2) TOKEN(3) TOKEN(4) TOKEN(5) TOKEN(6) TOKEN(7)
#undef TOKEN
    END
  }
  Store<24>(sums, out);
}

extern "C" void DenseI8mm(const int8_t* tokens, const int8_t* rows, int columns, int32_t* out) {
  int32x4_t sums[24];
  Load<24>(out, sums);
  for (; columns > 0; columns -= 8) {
    BEGIN("dense_i8mm")  // 8 * 12 * 8 products
    int8x16_t a[4];
    UNROLL
    for (int i = 0; i < 4; ++i) a[i] = vld1q_s8(tokens + 16 * i);
    UNROLL
    for (int r = 0; r < 6; ++r) {
      const int8x16_t b = vld1q_s8(rows + 16 * r);
      UNROLL
      for (int i = 0; i < 4; ++i) sums[4 * r + i] = vmmlaq_s32(sums[4 * r + i], a[i], b);
    }
    tokens += 64;
    rows += 96;
    END
  }
  Store<24>(sums, out);
}

extern "C" void Columns(const int8_t* x, const uint16_t* offsets, const int8_t* weights, int entries,
                        int32_t* out) {
  int32x4_t sums[16];
  Load<16>(out, sums);
  for (int e = 0; e + 4 <= entries; e += 4) {
    BEGIN("columns")  // four entries of 64 tokens
    const int8x16_t w = vld1q_s8(weights + 4 * e);
    AddColumns<0>(x, offsets + 4 * e, w, sums);
    AddColumns<1>(x, offsets + 4 * e + 4, w, sums);
    AddColumns<2>(x, offsets + 4 * e + 8, w, sums);
    AddColumns<3>(x, offsets + 4 * e + 12, w, sums);
    END
  }
  Store<16>(sums, out);
}

extern "C" void Groups(const int8_t* x, const uint16_t* offsets, const int8_t* weights, int entries,
                       int32_t* out) {
  int32x4_t sums[16];
  Load<16>(out, sums);
  for (int e = 0; e + 4 <= entries; e += 4) {
    BEGIN("groups")  // likewise
    const int8x16_t w = vld1q_s8(weights + 4 * e);
    AddGroup<0>(x + offsets[e], w, sums);
    AddGroup<1>(x + offsets[e + 1], w, sums);
    AddGroup<2>(x + offsets[e + 2], w, sums);
    AddGroup<3>(x + offsets[e + 3], w, sums);
    END
  }
  Store<16>(sums, out);
}

extern "C" void Row(const int32_t* from, int32_t* to, int rows) {
  for (; rows > 0; --rows, from += 64, to += 64) {
    BEGIN("row")  // its sums are read and written
    int32x4_t sums[16];
    Load<16>(from, sums);
    asm volatile("" ::: "memory");
    Store<16>(sums, to);
    END
  }
}
