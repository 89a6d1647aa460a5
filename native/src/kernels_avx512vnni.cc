// x86 with AVX-512 VNNI: 64 tokens, four sums of 16 tokens in registers.

// GCC 12 warns of variables in its own header that are undefined on purpose.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "encoder_kernel.h"
#include "kernel.h"

namespace tf_prune_ofa {
namespace {

constexpr int kTokens = 64;
constexpr int kNarrow = 32;  // of a tile with few tokens: vectors of half the width
constexpr int kOffset = 128;

bool IsSupported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}

inline __m512i Load(const void* from) { return _mm512_load_si512(from); }
inline void Store(void* to, __m512i value) { _mm512_store_si512(to, value); }

// The first `count` of 16 elements.
inline __mmask16 First(int count) {
  return count >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << count) - 1);
}

// ---- Quantizing

RowQuantization Quantize(const float* values, int columns, int8_t* out) {
  // Several of each, because the next minimum waits for the last.
  __m512 low[4], high[4];
  for (int i = 0; i < 4; ++i) low[i] = high[i] = _mm512_setzero_ps();
  int k = 0;
  for (; k + 64 <= columns; k += 64) {
    for (int i = 0; i < 4; ++i) {
      const __m512 x = _mm512_loadu_ps(values + k + 16 * i);
      low[i] = _mm512_min_ps(low[i], x);
      high[i] = _mm512_max_ps(high[i], x);
    }
  }
  for (; k < columns; k += 16) {
    const __m512 x = _mm512_maskz_loadu_ps(First(columns - k), values + k);
    low[0] = _mm512_min_ps(low[0], x);
    high[0] = _mm512_max_ps(high[0], x);
  }
  for (int i = 1; i < 4; ++i) {
    low[0] = _mm512_min_ps(low[0], low[i]);
    high[0] = _mm512_max_ps(high[0], high[i]);
  }
  float multiplier;
  const RowQuantization row =
      ChooseQuantization(_mm512_reduce_min_ps(low[0]), _mm512_reduce_max_ps(high[0]), &multiplier);

  const __m512 scale = _mm512_set1_ps(multiplier);
  const __m512 largest = _mm512_set1_ps(static_cast<float>(127 - row.zero_point));
  const __m512 smallest = _mm512_set1_ps(static_cast<float>(-128 - row.zero_point));
  const auto place = [&](__m512 x) {
    x = _mm512_mul_ps(x, scale);
    return _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(x, largest), smallest));
  };
  // Packing works within parts of 128 bits; this puts the 16 fours of bytes in order again.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  // Without its zero point a number needs 9 bits, with it 8.
  const __m512i zero_words = _mm512_set1_epi16(static_cast<int16_t>(row.zero_point));
  for (k = 0; k + 64 <= columns; k += 64) {
    const float* x = values + k;
    const __m512i a = _mm512_packs_epi32(place(_mm512_loadu_ps(x)), place(_mm512_loadu_ps(x + 16)));
    const __m512i b =
        _mm512_packs_epi32(place(_mm512_loadu_ps(x + 32)), place(_mm512_loadu_ps(x + 48)));
    const __m512i bytes = _mm512_packs_epi16(_mm512_add_epi16(a, zero_words),
                                             _mm512_add_epi16(b, zero_words));
    _mm512_storeu_si512(out + k, _mm512_permutexvar_epi32(order, bytes));
  }
  for (; k < columns; k += 16) {
    const __mmask16 mask = First(columns - k);
    const __m512i q = place(_mm512_maskz_loadu_ps(mask, values + k));
    const __m128i bytes = _mm512_cvtepi32_epi8(
        _mm512_add_epi32(q, _mm512_set1_epi32(row.zero_point)));
    _mm_mask_storeu_epi8(out + k, mask, bytes);
  }
  return row;
}

// ---- Packing

// Transposes 4 x 4 elements of 32 bits in each of the four parts of 128 bits.
inline void TransposeParts(__m512i v[4]) {
  const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
  const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm512_unpacklo_epi64(a, c);
  v[1] = _mm512_unpackhi_epi64(a, c);
  v[2] = _mm512_unpacklo_epi64(b, d);
  v[3] = _mm512_unpackhi_epi64(b, d);
}

// Four vectors of 16 bytes of four tokens become one column of four tokens in each 32 bits.
inline void Interleave(__m512i x0, __m512i x1, __m512i x2, __m512i x3, __m512i out[4]) {
  const __m512i a = _mm512_unpacklo_epi8(x0, x1), b = _mm512_unpackhi_epi8(x0, x1);
  const __m512i c = _mm512_unpacklo_epi8(x2, x3), d = _mm512_unpackhi_epi8(x2, x3);
  out[0] = _mm512_unpacklo_epi16(a, c);
  out[1] = _mm512_unpackhi_epi16(a, c);
  out[2] = _mm512_unpacklo_epi16(b, d);
  out[3] = _mm512_unpackhi_epi16(b, d);
}

inline void TransposeParts(__m256i v[4]) {
  const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(a, c);
  v[1] = _mm256_unpackhi_epi64(a, c);
  v[2] = _mm256_unpacklo_epi64(b, d);
  v[3] = _mm256_unpackhi_epi64(b, d);
}

inline void Interleave(__m256i x0, __m256i x1, __m256i x2, __m256i x3, __m256i out[4]) {
  const __m256i a = _mm256_unpacklo_epi8(x0, x1), b = _mm256_unpackhi_epi8(x0, x1);
  const __m256i c = _mm256_unpacklo_epi8(x2, x3), d = _mm256_unpackhi_epi8(x2, x3);
  out[0] = _mm256_unpacklo_epi16(a, c);
  out[1] = _mm256_unpackhi_epi16(a, c);
  out[2] = _mm256_unpacklo_epi16(b, d);
  out[3] = _mm256_unpackhi_epi16(b, d);
}

struct Rows {
  const int8_t* values;
  ptrdiff_t stride;
  int live;

  // 16 bytes of tokens t, t + step, t + 2 step, t + 3 step. A missing token repeats the last one.
  __m512i Load(int t, int step, int column, __mmask16 mask) const {
    __m512i v = _mm512_castsi128_si512(Part(t, column, mask));
    v = _mm512_inserti32x4(v, Part(t + step, column, mask), 1);
    v = _mm512_inserti32x4(v, Part(t + 2 * step, column, mask), 2);
    return _mm512_inserti32x4(v, Part(t + 3 * step, column, mask), 3);
  }

  // The same of tokens t and t + step.
  __m256i LoadNarrow(int t, int step, int column, __mmask16 mask) const {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(Part(t, column, mask)),
                                   Part(t + step, column, mask), 1);
  }

 private:
  __m128i Part(int t, int column, __mmask16 mask) const {
    const int8_t* from = values + (t < live ? t : live - 1) * stride + column;
    return _mm_maskz_loadu_epi8(mask, from);
  }
};

// How bytes of four columns are interleaved at run time.
enum class Moves {
  kShuffles,  // by unpacking alone: four a cycle on Zen 5, two halves a cycle on Zen 4
  // A quarter of them by shifts and masked moves: Intel has one unit that shuffles, and others that
  // have nothing to do meanwhile.
  kShifts,
};

// Token 16j + 4l + i lies at byte 16l + 4j + i of a column: interleaving columns within parts of 128
// bits then leaves the tokens of each sum in order. Shifts take every second byte instead: there
// tokens of j = 0 and j = 1 lie in turns.
template <Moves kMoves>
void PackColumns(const Rows& rows, int columns, uint8_t* out) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(kOffset));
  const __m512i in_turns = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  for (int k = 0; k < columns; k += 16) {
    const int here = columns - k < 16 ? columns - k : 16;
    const __mmask16 mask = First(here);
    __m512i quads[4][4];
    for (int j = 0; j < 4; ++j) {
      __m512i v[4];
      Interleave(rows.Load(16 * j, 4, k, mask), rows.Load(16 * j + 1, 4, k, mask),
                 rows.Load(16 * j + 2, 4, k, mask), rows.Load(16 * j + 3, 4, k, mask), v);
      for (int q = 0; q < 4; ++q) quads[q][j] = v[q];
    }
    for (int q = 0; 4 * q < here; ++q) {
      TransposeParts(quads[q]);
      for (int c = 0; c < 4; ++c) {
        __m512i column = quads[q][c];
        if (kMoves == Moves::kShifts) column = _mm512_shuffle_epi8(column, in_turns);
        Store(out + (k + 4 * q + c) * kTokens, _mm512_xor_si512(column, offset));
      }
    }
  }
}

// [K/4][64][4]: 16 tokens make one vector of a group.
void PackGroups(const Rows& rows, int columns, uint8_t* out) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(kOffset));
  for (int k = 0; k < columns; k += 16) {
    const int here = columns - k < 16 ? columns - k : 16;
    const __mmask16 mask = First(here);
    for (int j = 0; j < 4; ++j) {
      __m512i v[4];
      for (int i = 0; i < 4; ++i) v[i] = rows.Load(16 * j + i, 4, k, mask);
      TransposeParts(v);
      for (int q = 0; 4 * q < here; ++q) {
        Store(out + ((k / 4 + q) * kTokens + 16 * j) * 4, _mm512_xor_si512(v[q], offset));
      }
    }
  }
}

// Half as wide: token 8j + 4l + i at byte 16l + 4j + i of a column, and 8 tokens in a vector of a group.
void PackNarrow(Layout layout, const Rows& rows, int columns, uint8_t* out) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(kOffset));
  const auto store = [&](int place, __m256i v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + place), _mm256_xor_si256(v, offset));
  };
  for (int k = 0; k < columns; k += 16) {
    const int here = columns - k < 16 ? columns - k : 16;
    const __mmask16 mask = First(here);
    __m256i quads[4][4];
    for (int j = 0; j < 4; ++j) {
      __m256i x[4], v[4];
      for (int i = 0; i < 4; ++i) x[i] = rows.LoadNarrow(8 * j + i, 4, k, mask);
      if (layout == Layout::kColumns) {
        Interleave(x[0], x[1], x[2], x[3], v);
        for (int q = 0; q < 4; ++q) quads[q][j] = v[q];
      } else {
        TransposeParts(x);
        for (int q = 0; 4 * q < here; ++q) store(((k / 4 + q) * kNarrow + 8 * j) * 4, x[q]);
      }
    }
    if (layout != Layout::kColumns) continue;
    for (int q = 0; 4 * q < here; ++q) {
      TransposeParts(quads[q]);
      for (int c = 0; c < 4; ++c) store((k + 4 * q + c) * kNarrow, quads[q][c]);
    }
  }
}

template <Moves kMoves>
void Pack(Layout layout, const int8_t* values, ptrdiff_t stride, int live, int columns,
          uint8_t* out) {
  const Rows rows = {values, stride, live};
  if (live <= kNarrow) {
    PackNarrow(layout, rows, columns, out);
  } else if (layout == Layout::kColumns) {
    PackColumns<kMoves>(rows, columns, out);
  } else {
    PackGroups(rows, columns, out);
  }
}

// ---- Multiplying

struct Sums {
  __m512i v[4];

  void Start(const int32_t* from, bool is_continued) {
    for (int i = 0; i < 4; ++i) {
      v[i] = is_continued ? _mm512_load_si512(from + 16 * i) : _mm512_setzero_si512();
    }
  }
  void Add(const Sums& other) {
    for (int i = 0; i < 4; ++i) v[i] = _mm512_add_epi32(v[i], other.v[i]);
  }
  void Store(int32_t* to) const {
    for (int i = 0; i < 4; ++i) _mm512_store_si512(to + 16 * i, v[i]);
  }
};

// Of a narrow tile.
struct NarrowSums {
  __m256i v[4];

  void Start(const int32_t* from, bool is_continued) {
    for (int i = 0; i < 4; ++i) {
      v[i] = is_continued ? _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 8 * i))
                          : _mm256_setzero_si256();
    }
  }
  void Add(const NarrowSums& other) {
    for (int i = 0; i < 4; ++i) v[i] = _mm256_add_epi32(v[i], other.v[i]);
  }
  void Store(int32_t* to) const {
    for (int i = 0; i < 4; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(to + 8 * i), v[i]);
  }
};

inline int32_t* RowSums(const AccumulateArgs& args, int place) {
  return args.sums + (args.order[place] - args.row_begin) * kTokens;
}

// Where the sums of a row go: to memory, to be continued or finished as float.
struct StoreSums {
  const AccumulateArgs& args;
  template <typename AnySums>
  void operator()(const AnySums& sums, int place) const {
    sums.Store(RowSums(args, place));
  }
};

// Or, rounded before they are transposed, to a quarter of it: token 16j + 4l + i at byte
// 16l + 4j + i, as in PackColumns.
struct Requantize {
  explicit Requantize(const AccumulateArgs& args_in)
      : args(args_in),
        largest(_mm512_set1_ps(
            static_cast<float>(args.finish->maximum - args.finish->zero_point))),
        smallest(_mm512_set1_ps(
            static_cast<float>(args.finish->minimum - args.finish->zero_point))),
        zero(_mm512_set1_epi16(static_cast<int16_t>(args.finish->zero_point))) {}

  void operator()(const Sums& sums, int place) const {
    const int row = args.order[place];
    const __m512i start = _mm512_set1_epi32(args.finish->starts[row]);
    const __m512 scale = _mm512_set1_ps(args.finish->scales[row]);
    __m512i q[4];
    for (int j = 0; j < 4; ++j) {
      const __m512 y =
          _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sums.v[j], start)), scale);
      q[j] = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(y, largest), smallest));
    }
    // Without its zero point a number needs 9 bits, with it 8.
    const __m512i bytes =
        _mm512_packs_epi16(_mm512_add_epi16(_mm512_packs_epi32(q[0], q[1]), zero),
                           _mm512_add_epi16(_mm512_packs_epi32(q[2], q[3]), zero));
    Store(args.bytes + (row - args.row_begin) * kTokens, bytes);
  }

  // Token 8j + 4l + i at byte 16l + 4j + i, as in PackNarrow.
  void operator()(const NarrowSums& sums, int place) const {
    const int row = args.order[place];
    const __m256i start = _mm256_set1_epi32(args.finish->starts[row]);
    const __m256 scale = _mm256_set1_ps(args.finish->scales[row]);
    const __m256 most = _mm512_castps512_ps256(largest), least = _mm512_castps512_ps256(smallest);
    const __m256i z = _mm512_castsi512_si256(zero);
    __m256i q[4];
    for (int j = 0; j < 4; ++j) {
      const __m256 y =
          _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(sums.v[j], start)), scale);
      q[j] = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(y, most), least));
    }
    const __m256i bytes = _mm256_packs_epi16(_mm256_add_epi16(_mm256_packs_epi32(q[0], q[1]), z),
                                             _mm256_add_epi16(_mm256_packs_epi32(q[2], q[3]), z));
    _mm256_store_si256(
        reinterpret_cast<__m256i*>(args.bytes + (row - args.row_begin) * kTokens), bytes);
  }

  const AccumulateArgs& args;
  __m512 largest, smallest;
  __m512i zero;
};

// Weights are read once for each tile of tokens and come from far; the processor's own prefetching
// stops at each page.
inline void PrefetchBehind(const void* from, int lines) {
  const char* line = static_cast<const char*>(from) + 1024;
  for (int i = 0; i < lines; ++i) __builtin_prefetch(line + 64 * i, 0, 2);
}

// As Interleave, of columns that were packed for shifts.
inline void InterleaveByShifts(__m512i x0, __m512i x1, __m512i x2, __m512i x3, __m512i out[4]) {
  const __m512i a = _mm512_unpacklo_epi8(x0, x1), b = _mm512_unpackhi_epi8(x0, x1);
  const __m512i c = _mm512_unpacklo_epi8(x2, x3), d = _mm512_unpackhi_epi8(x2, x3);
  constexpr __mmask32 kOdd = 0xaaaaaaaa;
  out[0] = _mm512_mask_blend_epi16(kOdd, a, _mm512_slli_epi32(c, 16));
  out[1] = _mm512_mask_blend_epi16(kOdd, _mm512_srli_epi32(a, 16), c);
  out[2] = _mm512_unpacklo_epi16(b, d);
  out[3] = _mm512_unpackhi_epi16(b, d);
}

template <Moves kMoves>
inline void AddColumns(const uint8_t* x, const uint16_t* offsets, const int8_t* weights, Sums* sums) {
  uint64_t four;  // one load for four offsets
  __builtin_memcpy(&four, offsets, sizeof(four));
  const __m512i x0 = Load(x + (four & 0xffff)), x1 = Load(x + (four >> 16 & 0xffff));
  const __m512i x2 = Load(x + (four >> 32 & 0xffff)), x3 = Load(x + (four >> 48));
  __m512i v[4];
  if (kMoves == Moves::kShifts) {
    InterleaveByShifts(x0, x1, x2, x3, v);
  } else {
    Interleave(x0, x1, x2, x3, v);
  }
  int32_t bytes;
  __builtin_memcpy(&bytes, weights, sizeof(bytes));
  const __m512i w = _mm512_set1_epi32(bytes);
  for (int i = 0; i < 4; ++i) sums->v[i] = _mm512_dpbusd_epi32(sums->v[i], v[i], w);
}

// Offsets are multiples of 64, so that all four halve in one shift.
template <Moves>
inline void AddColumns(const uint8_t* x, const uint16_t* offsets, const int8_t* weights,
                       NarrowSums* sums) {
  uint64_t four;
  __builtin_memcpy(&four, offsets, sizeof(four));
  four >>= 1;
  const auto load = [x](uint64_t offset) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(x + offset));
  };
  __m256i v[4];
  Interleave(load(four & 0xffff), load(four >> 16 & 0xffff), load(four >> 32 & 0xffff),
             load(four >> 48), v);
  int32_t bytes;
  __builtin_memcpy(&bytes, weights, sizeof(bytes));
  const __m256i w = _mm256_set1_epi32(bytes);
  for (int i = 0; i < 4; ++i) sums->v[i] = _mm256_dpbusd_epi32(sums->v[i], v[i], w);
}

// Two rows at a time, because a dot product takes as long as four of them take to start. The second
// has as many entries as the first, or a few more; see PackedWeights on the order.
template <Moves kMoves, typename AnySums, typename Finish>
void AccumulateColumns(const AccumulateArgs& args, Finish finish) {
  const uint8_t* x = args.activations;
  int place = args.row_begin;
  for (; place + 2 <= args.row_end; place += 2) {
    const uint32_t* starts = args.starts + place;
    const uint16_t* offsets0 = args.offsets + size_t{starts[0]} * 4;
    const uint16_t* offsets1 = args.offsets + size_t{starts[1]} * 4;
    const int8_t* weights0 = args.weights + size_t{starts[0]} * 4;
    const int8_t* weights1 = args.weights + size_t{starts[1]} * 4;
    PrefetchBehind(offsets0, 4);
    PrefetchBehind(weights0, 2);
    AnySums sums0, sums1;
    sums0.Start(RowSums(args, place), args.add);
    sums1.Start(RowSums(args, place + 1), args.add);
    uint32_t common = starts[1] - starts[0];
    uint32_t rest = starts[2] - starts[1] - common;
    for (; common > 0; --common) {
      AddColumns<kMoves>(x, offsets0, weights0, &sums0);
      AddColumns<kMoves>(x, offsets1, weights1, &sums1);
      offsets0 += 4, offsets1 += 4, weights0 += 4, weights1 += 4;
    }
    for (; rest > 0; --rest, offsets1 += 4, weights1 += 4) {
      AddColumns<kMoves>(x, offsets1, weights1, &sums1);
    }
    finish(sums0, place);
    finish(sums1, place + 1);
  }
  if (place == args.row_end) return;
  AnySums sums;
  sums.Start(RowSums(args, place), args.add);
  for (size_t e = args.starts[place]; e < args.starts[place + 1]; ++e) {
    AddColumns<kMoves>(x, args.offsets + 4 * e, args.weights + 4 * e, &sums);
  }
  finish(sums, place);
}

// Entry `kPart` of four whose weights lie side by side in each part of 128 bits.
template <int kPart>
inline void AddGroup(const uint8_t* x, uint64_t offset, __m512i four, Sums* sums) {
  const __m512i w = _mm512_shuffle_epi32(four, static_cast<_MM_PERM_ENUM>(kPart * 0x55));
  for (int i = 0; i < 4; ++i) {
    sums->v[i] = _mm512_dpbusd_epi32(sums->v[i], Load(x + offset + 64 * i), w);
  }
}

template <int kPart>
inline void AddGroup(const uint8_t* x, uint64_t offset, __m512i four, NarrowSums* sums) {
  const __m256i w = _mm256_shuffle_epi32(_mm512_castsi512_si256(four), kPart * 0x55);
  for (int i = 0; i < 4; ++i) {
    const __m256i v =
        _mm256_load_si256(reinterpret_cast<const __m256i*>(x + offset / 2 + 32 * i));
    sums->v[i] = _mm256_dpbusd_epi32(sums->v[i], v, w);
  }
}

// Four entries at a time, because loads are what there are too few of: one for the weights of four,
// one for their offsets. Two sets of sums, for the reason above.
template <typename AnySums, typename Finish>
void AccumulateGroups(const AccumulateArgs& args, Finish finish) {
  const uint8_t* x = args.activations;
  for (int place = args.row_begin; place < args.row_end; ++place) {
    const uint32_t begin = args.starts[place];
    const uint16_t* offsets = args.offsets + begin;
    const int8_t* weights = args.weights + size_t{begin} * 4;
    PrefetchBehind(offsets, 1);
    PrefetchBehind(weights, 2);
    AnySums even, odd;
    even.Start(RowSums(args, place), args.add);
    odd.Start(nullptr, false);
    uint32_t count = args.starts[place + 1] - begin;
    for (; count >= 4; count -= 4, offsets += 4, weights += 16) {
      const __m512i four =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights)));
      uint64_t o;
      __builtin_memcpy(&o, offsets, sizeof(o));
      AddGroup<0>(x, o & 0xffff, four, &even);
      AddGroup<1>(x, o >> 16 & 0xffff, four, &odd);
      AddGroup<2>(x, o >> 32 & 0xffff, four, &even);
      AddGroup<3>(x, o >> 48, four, &odd);
    }
    for (; count > 0; --count, ++offsets, weights += 4) {
      int32_t bytes;
      __builtin_memcpy(&bytes, weights, sizeof(bytes));
      AddGroup<0>(x, *offsets, _mm512_set1_epi32(bytes), &even);
    }
    even.Add(odd);
    finish(even, place);
  }
}

template <Moves kMoves, typename AnySums, typename Finish>
void AccumulateLayout(const AccumulateArgs& args, Finish finish) {
  if (args.layout == Layout::kColumns) {
    AccumulateColumns<kMoves, AnySums>(args, finish);
  } else {
    AccumulateGroups<AnySums>(args, finish);
  }
}

template <Moves kMoves, typename Finish>
void AccumulateWidth(const AccumulateArgs& args, Finish finish) {
  if (args.tokens <= kNarrow) {
    AccumulateLayout<kMoves, NarrowSums>(args, finish);
  } else {
    AccumulateLayout<kMoves, Sums>(args, finish);
  }
}

template <Moves kMoves>
void Accumulate(const AccumulateArgs& args) {
  if (args.finish == nullptr) {
    AccumulateWidth<kMoves>(args, StoreSums{args});
  } else {
    AccumulateWidth<kMoves>(args, Requantize(args));
  }
}

// ---- Finishing

// Transposes 16 x 16 numbers.
inline void Transpose(__m512i v[16]) {
  for (int i = 0; i < 16; i += 4) TransposeParts(v + i);
  // v[4a + b] holds, in part p, column 4p + b of rows 4a..4a+3: now transpose parts over a.
  for (int b = 0; b < 4; ++b) {
    const __m512i r0 = v[b], r1 = v[4 + b], r2 = v[8 + b], r3 = v[12 + b];
    const __m512i a = _mm512_shuffle_i32x4(r0, r1, 0x44), c = _mm512_shuffle_i32x4(r0, r1, 0xee);
    const __m512i d = _mm512_shuffle_i32x4(r2, r3, 0x44), e = _mm512_shuffle_i32x4(r2, r3, 0xee);
    v[b] = _mm512_shuffle_i32x4(a, d, 0x88);
    v[4 + b] = _mm512_shuffle_i32x4(a, d, 0xdd);
    v[8 + b] = _mm512_shuffle_i32x4(c, e, 0x88);
    v[12 + b] = _mm512_shuffle_i32x4(c, e, 0xdd);
  }
}

// Calls finish(t, v) with the sums of token t and of 16 rows from n on, for tokens t < 16 of which
// there are `here`. Rows from `rows` on repeat the first. All tokens at once stay in registers.
template <typename Finish>
inline void ForTokens(const int32_t* sums, int rows, int here, Finish finish) {
  __m512i v[16];
  if (rows == 16) {
    for (int i = 0; i < 16; ++i) v[i] = Load(sums + i * kTokens);
  } else {
    for (int i = 0; i < 16; ++i) v[i] = Load(sums + (i < rows ? i : 0) * kTokens);
  }
  Transpose(v);
  if (here == 16) {
#pragma GCC unroll 16
    for (int t = 0; t < 16; ++t) finish(t, v[t]);
  } else {
    for (int t = 0; t < here; ++t) finish(t, v[t]);
  }
}

// A token's numbers are written one behind the other: the rows of `out` lie far apart, and each new
// one costs the caches much more than the next 64 bytes of the same.
void FinishFloat(const FinishFloatArgs& args) {
  const __m512 minimum = _mm512_set1_ps(args.minimum), maximum = _mm512_set1_ps(args.maximum);
  const ptrdiff_t stride = args.out_stride;
  for (int t = 0; t < args.tokens; t += 16) {
    const int here = args.tokens - t < 16 ? args.tokens - t : 16;
    const int32_t* zero_points = args.zero_points + t;
    const float* input_scales = args.input_scales + t;
    for (int n = args.row_begin; n < args.row_end; n += 16) {
      const int rows = args.row_end - n < 16 ? args.row_end - n : 16;
      const __mmask16 mask = First(rows);
      const __m512 scales = _mm512_maskz_loadu_ps(mask, args.scales + n);
      const __m512 bias = _mm512_maskz_loadu_ps(mask, args.bias + n);
      const __m512i row_sums = _mm512_maskz_loadu_epi32(mask, args.row_sums + n);
      const __m512i offset = _mm512_mullo_epi32(row_sums, _mm512_set1_epi32(kOffset));
      float* out = args.out + t * stride + n;
      ForTokens(args.sums + (n - args.row_begin) * kTokens + t, rows, here, [=](int i, __m512i v) {
        const __m512i zero = _mm512_set1_epi32(zero_points[i]);
        const __m512i sum =
            _mm512_sub_epi32(_mm512_sub_epi32(v, offset), _mm512_mullo_epi32(zero, row_sums));
        __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(input_scales[i]));
        y = _mm512_fmadd_ps(y, scales, bias);
        y = _mm512_min_ps(_mm512_max_ps(y, minimum), maximum);
        _mm512_mask_storeu_ps(out + i * stride, mask, y);
      });
    }
  }
}

// Transposes 16 x 16 bytes in each part of 128 bits.
inline void TransposeBytes(__m512i v[16]) {
  for (int round = 0; round < 4; ++round) {
    __m512i next[16];
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = _mm512_unpacklo_epi8(v[i], v[i + 8]);
      next[2 * i + 1] = _mm512_unpackhi_epi8(v[i], v[i + 8]);
    }
    for (int i = 0; i < 16; ++i) v[i] = next[i];
  }
}

// `bytes`: of 16 rows, each 64 tokens as Requantize left them. `lines`: for each token 64 bytes, of
// which those of these rows are filled.
inline void TransposeRows(const int8_t* bytes, int rows, int8_t* lines) {
  __m512i v[16];
  for (int r = 0; r < 16; ++r) v[r] = Load(bytes + (r < rows ? r : 0) * kTokens);
  TransposeBytes(v);
  for (int p = 0; p < 16; ++p) {
    int8_t* line = lines + (16 * (p / 4) + p % 4) * 64;
    _mm_store_si128(reinterpret_cast<__m128i*>(line), _mm512_castsi512_si128(v[p]));
    _mm_store_si128(reinterpret_cast<__m128i*>(line + 4 * 64), _mm512_extracti32x4_epi32(v[p], 1));
    _mm_store_si128(reinterpret_cast<__m128i*>(line + 8 * 64), _mm512_extracti32x4_epi32(v[p], 2));
    _mm_store_si128(reinterpret_cast<__m128i*>(line + 12 * 64), _mm512_extracti32x4_epi32(v[p], 3));
  }
}

inline void TransposeBytes(__m256i v[16]) {
  for (int round = 0; round < 4; ++round) {
    __m256i next[16];
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = _mm256_unpacklo_epi8(v[i], v[i + 8]);
      next[2 * i + 1] = _mm256_unpackhi_epi8(v[i], v[i + 8]);
    }
    for (int i = 0; i < 16; ++i) v[i] = next[i];
  }
}

// The same of a narrow tile.
inline void TransposeNarrowRows(const int8_t* bytes, int rows, int8_t* lines) {
  __m256i v[16];
  for (int r = 0; r < 16; ++r) {
    v[r] = _mm256_load_si256(
        reinterpret_cast<const __m256i*>(bytes + (r < rows ? r : 0) * kTokens));
  }
  TransposeBytes(v);
  for (int p = 0; p < 16; ++p) {
    int8_t* line = lines + (8 * (p / 4) + p % 4) * 64;
    _mm_store_si128(reinterpret_cast<__m128i*>(line), _mm256_castsi256_si128(v[p]));
    _mm_store_si128(reinterpret_cast<__m128i*>(line + 4 * 64), _mm256_extracti128_si256(v[p], 1));
  }
}

// 64 rows at a time, so that whole lines of the cache are written.
void FinishInt8(const FinishInt8Args& args) {
  alignas(64) int8_t lines[kTokens * 64];
  for (int n = args.row_begin; n < args.row_end; n += 64) {
    const int rows = args.row_end - n < 64 ? args.row_end - n : 64;
    const int8_t* bytes = args.bytes + (n - args.row_begin) * kTokens;
    for (int r = 0; r < rows; r += 16) {
      if (args.tokens <= kNarrow) {
        TransposeNarrowRows(bytes + r * kTokens, rows - r, lines + r);
      } else {
        TransposeRows(bytes + r * kTokens, rows - r, lines + r);
      }
    }
    const __mmask64 mask = rows == 64 ? ~__mmask64{0} : (__mmask64{1} << rows) - 1;
    for (int t = 0; t < args.tokens; ++t) {
      _mm512_mask_storeu_epi8(args.out + t * args.out_stride + n, mask, Load(lines + 64 * t));
    }
  }
}

constexpr Kernels kKernels = {
    "avx512vnni", kTokens, 1, kOffset, true, 768, IsSupported, Quantize,
    Pack<Moves::kShuffles>, Accumulate<Moves::kShuffles>, FinishFloat, FinishInt8,
    /*requantizes_rows=*/true, /*rounds_as_kleidiai=*/false, kNarrow, &kAvx512EncoderKernels,
};

constexpr Kernels kShiftKernels = {
    "avx512vnni_shifts", kTokens, 1, kOffset, true, 768, IsSupported, Quantize,
    Pack<Moves::kShifts>, Accumulate<Moves::kShifts>, FinishFloat, FinishInt8,
    /*requantizes_rows=*/true, /*rounds_as_kleidiai=*/false, kNarrow, &kAvx512EncoderKernels,
};

}  // namespace

const Kernels* Avx512VnniKernels() { return &kKernels; }
const Kernels* Avx512VnniShiftKernels() { return &kShiftKernels; }

}  // namespace tf_prune_ofa
