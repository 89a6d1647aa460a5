// INT8 attention on vectors of 256 bits, but for its products: four queries at a time, their scores stay
// in the first-level cache. For the sources that have products, each compiled for its instructions.
#ifndef TF_PRUNE_OFA_ATTEND_AVX_H_
#define TF_PRUNE_OFA_ATTEND_AVX_H_

#include "encoder_avx.h"
#include "encoder_common.h"

namespace tf_prune_ofa {
namespace {

constexpr int kQueries = 4;
// Keys of one call of the products, and numbers of a head: rows of both are two vectors of sums.
constexpr int kAtOnce = 16;
constexpr int kRowBytes = 64;

// ---- Softmax

// XNNPACK's exp of numbers up to 0.
inline __m256 Exp(__m256 x) {
  const __m256 bias = _mm256_set1_ps(0x1.8000FEp23f);
  __m256 n = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), bias);
  const __m256 s = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(n), 23));
  n = _mm256_sub_ps(n, bias);
  __m256 t = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.62E400p-1f), x);
  t = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.7F7D1Cp-20f), t);
  __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(0x1.0F9F9Cp-7f), t, _mm256_set1_ps(0x1.573A1Ap-5f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0x1.555A80p-3f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0x1.FFFDC6p-2f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0x1.FFFFF6p-1f));
  const __m256 f = _mm256_fmadd_ps(_mm256_mul_ps(t, s), p, s);
  return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(-0x1.5D589Ep6f), _CMP_LT_OS), f);
}

// 16 numbers become their exponentials.
struct Exponentials {
  Exponentials(float* scores, __m256 top) {
    low = Exp(_mm256_sub_ps(_mm256_load_ps(scores), top));
    high = Exp(_mm256_sub_ps(_mm256_load_ps(scores + 8), top));
    _mm256_store_ps(scores, low);
    _mm256_store_ps(scores + 8, high);
  }
  __m256 low, high;
};

// What a row's exponentials are multiplied with to become probabilities: 1 / sum. Where there is no token
// a score is -infinity, and its exponential 0. XNNPACK has two sums, of every second vector, as far as
// whole fours of vectors go, and one behind; its vectors have 8 numbers, or 16 with AVX-512.
template <int kLanes>
float Exponentiate(const AttendArgs& args, float largest, int padded, float* scores) {
  const __m256 top = _mm256_set1_ps(largest);
  __m256 low = _mm256_setzero_ps(), high = low, next_low = low, next_high = low;
  const int whole = args.length / (4 * kLanes) * (4 * kLanes);
  int k = 0;
  for (; k < (whole < padded ? whole : padded); k += 16) {
    const Exponentials f(scores + k, top);
    if (kLanes == 8) {
      low = _mm256_add_ps(low, f.low);
      high = _mm256_add_ps(high, f.high);
    } else {
      const __m256 sum_low = _mm256_add_ps(low, f.low), sum_high = _mm256_add_ps(high, f.high);
      low = next_low, high = next_high;
      next_low = sum_low, next_high = sum_high;
    }
  }
  if (kLanes == 8) {
    __m256 sum = _mm256_add_ps(low, high);
    for (; k < padded; k += 16) {
      const Exponentials f(scores + k, top);
      sum = _mm256_add_ps(_mm256_add_ps(sum, f.low), f.high);
    }
    return 1.0f / ReduceAdd(sum);
  }
  low = _mm256_add_ps(low, next_low);
  high = _mm256_add_ps(high, next_high);
  for (; k < padded; k += 16) {
    const Exponentials f(scores + k, top);
    low = _mm256_add_ps(low, f.low);
    high = _mm256_add_ps(high, f.high);
  }
  return 1.0f / ReduceAdd(_mm256_add_ps(low, high));
}

// 16 probabilities, quantized, with 128 added: from 0 to 255.
inline __m256i Probabilities(const AttendArgs& args, const float* from, float share) {
  __m256 p[2];
  for (int i = 0; i < 2; ++i) {
    p[i] = _mm256_mul_ps(_mm256_mul_ps(_mm256_load_ps(from + 8 * i), _mm256_set1_ps(share)),
                         _mm256_set1_ps(args.probability_multiplier));
  }
  return _mm256_min_epi16(Words(p[0], p[1]), _mm256_set1_epi16(255));
}

// Products become scores: quantized, taken back to float and masked.
inline __m256 Score(const AttendArgs& args, __m256i sum, int key) {
  const __m256 most = _mm256_set1_ps(static_cast<float>(127 - args.score_zero));
  const __m256 least = _mm256_set1_ps(static_cast<float>(-128 - args.score_zero));
  __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(args.score_scale));
  y = _mm256_round_ps(_mm256_max_ps(_mm256_min_ps(y, most), least),
                      _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm256_add_ps(_mm256_mul_ps(y, _mm256_set1_ps(args.score_step)),
                       _mm256_load_ps(args.mask + key));
}

// ---- A head

// Products tells how numbers are multiplied: `kGroup` of them, each a Number with kOffset added to what
// it stands for, lie in 32 bits and are added up by one instruction.
//   Load(keys)             8 groups of one key
//   Interleave(rows, to)   kGroup rows of 16 values become 16 groups
//   Store(words, to)       16 words become Numbers
//   Add(sums, x, y)        x: groups of Numbers, y: groups of keys or values
template <typename Products>
class Head {
 public:
  using Number = typename Products::Number;

  Head(const AttendArgs& args, int padded, uint8_t* scratch)
      : args_(args),
        padded_(padded),
        keys_(scratch),
        values_(scratch + size_t{sizeof(Number)} * padded * args.dim),
        starts_(reinterpret_cast<int32_t*>(values_ + size_t{sizeof(Number)} * padded * args.dim)) {
    PackKeys();
    PackValues();
  }

  static size_t Bytes(int padded, int dim) {
    return size_t{2} * sizeof(Number) * padded * dim + sizeof(int32_t) * padded;
  }

  // Of four queries, [4][dim], with 16 keys.
  void Score(const Number* queries, int key, __m256i sums[kQueries][2]) const {
    for (int i = 0; i < 2; ++i) {
      const __m256i start = Load(starts_ + key + 8 * i);
      for (int q = 0; q < kQueries; ++q) sums[q][i] = start;
    }
    Multiply(queries, args_.dim, keys_ + size_t{sizeof(Number)} * key * args_.dim, sums);
  }

  // 16 numbers of four results, from probabilities [4][padded].
  void Mix(const Number* probabilities, int number, __m256i sums[kQueries][2]) const {
    for (int q = 0; q < kQueries; ++q) sums[q][0] = sums[q][1] = _mm256_setzero_si256();
    Multiply(probabilities, padded_, values_ + size_t{sizeof(Number)} * number * padded_, sums);
  }

 private:
  static constexpr int kGroup = Products::kGroup;

  // Four rows of `count` numbers, one behind the other, by 16 columns.
  static void Multiply(const Number* x, int count, const uint8_t* columns,
                       __m256i sums[kQueries][2]) {
    for (int k = 0; k < count; k += kGroup, columns += kRowBytes) {
      const __m256i y[2] = {Load(columns), Load(columns + 32)};
      for (int q = 0; q < kQueries; ++q) {
        const __m256i group = _mm256_set1_epi32(Four(x + q * ptrdiff_t{count} + k));
        for (int i = 0; i < 2; ++i) sums[q][i] = Products::Add(sums[q][i], group, y[i]);
      }
    }
  }

  // A missing token repeats the last one: its score is masked, its probability 0.
  const int8_t* Token(const int8_t* rows, int token) const {
    return rows + (token < args_.tokens ? token : args_.tokens - 1) * args_.stride;
  }

  // [padded / 16][dim / kGroup][16][kGroup], and what the query's zero point and kOffset take away.
  void PackKeys() {
    const __m256i less = _mm256_set1_epi32(-(args_.query_zero + Products::kOffset));
    for (int k = 0; k < padded_; k += 8) {
      uint8_t* to = keys_ + size_t{sizeof(Number)} * (k / kAtOnce * kAtOnce) * args_.dim +
                    size_t{4} * (k % kAtOnce);
      __m256i sum = _mm256_setzero_si256();
      for (int d = 0; d < args_.dim; d += 8 * kGroup) {
        __m256i v[8];
        for (int i = 0; i < 8; ++i) v[i] = Products::Load(Token(args_.keys, k + i) + d);
        Transpose(v);
        for (int g = 0; g < 8; ++g, to += kRowBytes) {
          Store(to, v[g]);
          sum = Products::Add(sum, Products::Ones(), v[g]);
        }
      }
      Store(starts_ + k, _mm256_mullo_epi32(sum, less));
    }
  }

  // [dim / 16][padded / kGroup][16][kGroup]
  void PackValues() {
    uint8_t* to = values_;
    for (int n = 0; n < args_.dim; n += kAtOnce) {
      for (int k = 0; k < padded_; k += kGroup, to += kRowBytes) {
        __m128i rows[kGroup];
        for (int i = 0; i < kGroup; ++i) {
          rows[i] = _mm_loadu_si128(
              reinterpret_cast<const __m128i*>(Token(args_.values, k + i) + n));
        }
        Products::Interleave(rows, to);
      }
    }
  }

  const AttendArgs& args_;
  const int padded_;
  uint8_t *keys_, *values_;
  int32_t* starts_;
};

template <typename Products>
void AttendWith(const AttendArgs& args) {
  using Number = typename Products::Number;
  const int padded = RoundUp(args.tokens, kAtOnce);
  auto* scores = reinterpret_cast<float*>(args.scratch);
  auto* probabilities = reinterpret_cast<Number*>(scores + kQueries * padded);
  const Head<Products> head(args, padded,
                            reinterpret_cast<uint8_t*>(probabilities + kQueries * padded));
  const auto exponentiate = RuntimeHasAvx512() ? Exponentiate<16> : Exponentiate<8>;
  const __m256i offset = _mm256_set1_epi16(Products::kOffset);
  const __m256 scale = _mm256_set1_ps(args.out_scale);
  for (int t = 0; t < args.tokens; t += kQueries) {
    const QueryRows<kQueries> rows(args, t);
    alignas(32) Number queries[kQueries * 64];
    __m256 largest[kQueries];
    for (int q = 0; q < kQueries; ++q) {
      largest[q] = _mm256_set1_ps(-__builtin_inff());
      for (int d = 0; d < args.dim; d += 16) {
        const __m128i bytes =
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.queries[q] + d));
        Products::Store(_mm256_add_epi16(_mm256_cvtepi8_epi16(bytes), offset),
                        queries + q * args.dim + d);
      }
    }
    for (int k = 0; k < padded; k += kAtOnce) {
      __m256i sums[kQueries][2];
      head.Score(queries, k, sums);
      for (int q = 0; q < kQueries; ++q) {
        for (int i = 0; i < 2; ++i) {
          const __m256 y = Score(args, sums[q][i], k + 8 * i);
          largest[q] = _mm256_max_ps(largest[q], y);
          _mm256_store_ps(scores + q * padded + k + 8 * i, y);
        }
      }
    }
    for (int q = 0; q < kQueries; ++q) {
      float* of_query = scores + q * padded;
      const float share = exponentiate(args, Largest(largest[q]), padded, of_query);
      for (int k = 0; k < padded; k += 16) {
        Products::Store(Probabilities(args, of_query + k, share), probabilities + q * padded + k);
      }
    }
    for (int n = 0; n < args.dim; n += kAtOnce) {
      __m256i sums[kQueries][2];
      head.Mix(probabilities, n, sums);
      for (int q = 0; q < kQueries; ++q) {
        StoreQuantized(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[q][0]), scale),
                       _mm256_mul_ps(_mm256_cvtepi32_ps(sums[q][1]), scale), args.out_zero,
                       rows.outs[q] + n);
      }
    }
  }
}

template <typename Products>
size_t ScratchBytes(int tokens, int dim) {
  const int padded = RoundUp(tokens, kAtOnce);
  return size_t{kQueries} * padded * (sizeof(float) + sizeof(typename Products::Number)) +
         Head<Products>::Bytes(padded, dim);
}

inline bool CanAttend(int dim) { return dim == 32 || dim == 64; }

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ATTEND_AVX_H_
