// What the kernels for AVX2 and for AVX-VNNI share: 32 tokens, four sums of 8 tokens in registers.
// Each source file compiles this for itself, hence the unnamed namespace.
#ifndef TF_PRUNE_OFA_AVX_COMMON_H_
#define TF_PRUNE_OFA_AVX_COMMON_H_

#include "avx_vectors.h"
#include "kernel.h"

namespace tf_prune_ofa {
namespace {

constexpr int kTokens = 32;

// ---- Quantizing

// The first `count` <= 8 of 8 numbers.
inline __m256i FirstOf8(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline float Least(__m256 v) {
  __m128 x = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_min_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_min_ss(x, _mm_movehdup_ps(x)));
}

// 8 numbers of 32 bits, all within INT8, as 8 bytes.
inline void StoreBytes(__m256i v, int count, int8_t* out) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
  if (count == 8) {
    __builtin_memcpy(out, &bytes, 8);
  } else {
    __builtin_memcpy(out, &bytes, static_cast<size_t>(count));
  }
}

RowQuantization Quantize(const float* values, int columns, int8_t* out) {
  __m256 low = _mm256_setzero_ps(), high = low;
  for (int k = 0; k < columns; k += 8) {
    const __m256 x = columns - k >= 8 ? _mm256_loadu_ps(values + k)
                                      : _mm256_maskload_ps(values + k, FirstOf8(columns - k));
    low = _mm256_min_ps(low, x);
    high = _mm256_max_ps(high, x);
  }
  float multiplier;
  const RowQuantization row = ChooseQuantization(Least(low), Largest(high), &multiplier);

  const __m256 scale = _mm256_set1_ps(multiplier);
  const __m256 largest = _mm256_set1_ps(static_cast<float>(127 - row.zero_point));
  const __m256 smallest = _mm256_set1_ps(static_cast<float>(-128 - row.zero_point));
  const __m256i zero = _mm256_set1_epi32(row.zero_point);
  for (int k = 0; k < columns; k += 8) {
    const int here = columns - k < 8 ? columns - k : 8;
    __m256 x = here == 8 ? _mm256_loadu_ps(values + k)
                         : _mm256_maskload_ps(values + k, FirstOf8(here));
    x = _mm256_mul_ps(x, scale);
    x = _mm256_max_ps(_mm256_min_ps(x, largest), smallest);
    StoreBytes(_mm256_add_epi32(_mm256_cvtps_epi32(x), zero), here, out + k);
  }
  return row;
}

// ---- Packing

// Four vectors of bytes become vectors of fours of bytes.
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

  // 16 bytes, or `count` and zeros, of tokens t and t + 4. A missing token repeats the last one.
  __m256i Load(int t, int column, int count) const {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(Part(t, column, count)),
                                   Part(t + 4, column, count), 1);
  }

 private:
  __m128i Part(int t, int column, int count) const {
    const int8_t* from = values + (t < live ? t : live - 1) * stride + column;
    if (count == 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    alignas(16) int8_t some[16] = {};
    __builtin_memcpy(some, from, static_cast<size_t>(count));
    return _mm_load_si128(reinterpret_cast<const __m128i*>(some));
  }
};

// Calls store(column, bytes) for each column: token 8j + 4l + i lies at byte 16l + 4j + i.
template <typename StoreColumn>
void TransposeColumns(const Rows& rows, int columns, StoreColumn store) {
  for (int k = 0; k < columns; k += 16) {
    const int here = columns - k < 16 ? columns - k : 16;
    __m256i quads[4][4];
    for (int j = 0; j < 4; ++j) {
      __m256i v[4];
      Interleave(rows.Load(8 * j, k, here), rows.Load(8 * j + 1, k, here),
                 rows.Load(8 * j + 2, k, here), rows.Load(8 * j + 3, k, here), v);
      for (int q = 0; q < 4; ++q) quads[q][j] = v[q];
    }
    for (int q = 0; 4 * q < here; ++q) {
      TransposeParts(quads[q]);
      for (int c = 0; c < 4; ++c) store(k + 4 * q + c, quads[q][c]);
    }
  }
}

// Calls store(group, j, fours) for each group of four columns and tokens 8j..8j+7, in order.
template <typename StoreGroup>
void TransposeGroups(const Rows& rows, int columns, StoreGroup store) {
  for (int k = 0; k < columns; k += 16) {
    const int here = columns - k < 16 ? columns - k : 16;
    for (int j = 0; j < 4; ++j) {
      __m256i v[4];
      for (int i = 0; i < 4; ++i) v[i] = rows.Load(8 * j + i, k, here);
      TransposeParts(v);
      for (int q = 0; 4 * q < here; ++q) store(k / 4 + q, j, v[q]);
    }
  }
}

// ---- Sums

struct Sums {
  __m256i v[4];

  void Load(const int32_t* from) {
    for (int i = 0; i < 4; ++i) v[i] = _mm256_load_si256(reinterpret_cast<const __m256i*>(from) + i);
  }
  void Clear() {
    for (__m256i& sum : v) sum = _mm256_setzero_si256();
  }
  void Store(int32_t* to) const {
    for (int i = 0; i < 4; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(to) + i, v[i]);
  }
};

template <int kOffsets, void (*kAddEntry)(const uint8_t*, const uint16_t*, const int8_t*, Sums*)>
void AccumulateRows(const AccumulateArgs& args) {
  for (int place = args.row_begin; place < args.row_end; ++place) {
    int32_t* out = args.sums + (args.order[place] - args.row_begin) * kTokens;
    Sums sums;
    if (args.add) {
      sums.Load(out);
    } else {
      sums.Clear();
    }
    for (uint32_t e = args.starts[place]; e < args.starts[place + 1]; ++e) {
      kAddEntry(args.activations, args.offsets + size_t{e} * kOffsets, args.weights + size_t{e} * 4,
                &sums);
    }
    sums.Store(out);
  }
}

// ---- Finishing

// 8 rows x 8 tokens of sums; rows from `rows` on repeat the first.
inline void LoadTransposed(const int32_t* sums, int rows, __m256i v[8]) {
  for (int i = 0; i < 8; ++i) v[i] = Load(sums + (i < rows ? i : 0) * kTokens);
  Transpose(v);
}

// Tokens outside, rows inside: the rows of `out` lie far apart.
template <int kUnsignedOffset>
void FinishFloat(const FinishFloatArgs& args) {
  const __m256 minimum = _mm256_set1_ps(args.minimum), maximum = _mm256_set1_ps(args.maximum);
  for (int t = 0; t < args.tokens; t += 8) {
    const int here = args.tokens - t < 8 ? args.tokens - t : 8;
    for (int n = args.row_begin; n < args.row_end; n += 8) {
      const int rows = args.row_end - n < 8 ? args.row_end - n : 8;
      const __m256i mask = FirstOf8(rows);
      const __m256 scales = _mm256_maskload_ps(args.scales + n, mask);
      const __m256 bias = _mm256_maskload_ps(args.bias + n, mask);
      const __m256i row_sums = _mm256_maskload_epi32(args.row_sums + n, mask);
      __m256i v[8];
      LoadTransposed(args.sums + (n - args.row_begin) * kTokens + t, rows, v);
      float* out = args.out + t * args.out_stride + n;
      for (int i = 0; i < here; ++i, out += args.out_stride) {
        const __m256i zero = _mm256_set1_epi32(args.zero_points[t + i] + kUnsignedOffset);
        const __m256i sum = _mm256_sub_epi32(v[i], _mm256_mullo_epi32(zero, row_sums));
        __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(args.input_scales[t + i]));
        y = _mm256_fmadd_ps(y, scales, bias);
        y = _mm256_min_ps(_mm256_max_ps(y, minimum), maximum);
        if (rows == 8) {
          _mm256_storeu_ps(out, y);
        } else {
          _mm256_maskstore_ps(out, mask, y);
        }
      }
    }
  }
}

void FinishInt8(const FinishInt8Args& args) {
  const __m256 largest = _mm256_set1_ps(static_cast<float>(args.maximum - args.zero_point));
  const __m256 smallest = _mm256_set1_ps(static_cast<float>(args.minimum - args.zero_point));
  const __m256i zero = _mm256_set1_epi32(args.zero_point);
  for (int t = 0; t < args.tokens; t += 8) {
    const int here = args.tokens - t < 8 ? args.tokens - t : 8;
    for (int n = args.row_begin; n < args.row_end; n += 8) {
      const int rows = args.row_end - n < 8 ? args.row_end - n : 8;
      const __m256i mask = FirstOf8(rows);
      const __m256 scales = _mm256_maskload_ps(args.scales + n, mask);
      const __m256i starts = _mm256_maskload_epi32(args.starts + n, mask);
      __m256i v[8];
      LoadTransposed(args.sums + (n - args.row_begin) * kTokens + t, rows, v);
      int8_t* out = args.out + t * args.out_stride + n;
      for (int i = 0; i < here; ++i, out += args.out_stride) {
        const __m256i sum = _mm256_add_epi32(v[i], starts);
        __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scales);
        y = _mm256_max_ps(_mm256_min_ps(y, largest), smallest);
        StoreBytes(_mm256_add_epi32(_mm256_cvtps_epi32(y), zero), rows, out);
      }
    }
  }
}

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_AVX_COMMON_H_
