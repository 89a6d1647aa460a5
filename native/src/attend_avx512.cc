// One head of INT8 attention on AVX-512 with VNNI: four queries at a time, their scores stay in the
// first-level cache.
#include "encoder_avx512.h"
#include "encoder_common.h"
#include "kernel.h"

namespace tf_prune_ofa {
namespace {

constexpr int kQueries = 4;
constexpr int kKeys = 64;    // of a tile
constexpr int kNarrow = 32;  // of one with few keys, which Kernels::pack makes half as wide

inline int32_t Four(const void* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof(four));
  return four;
}

// Where things lie in the scratch memory, for `padded` keys.
struct Scratch {
  Scratch(uint8_t* begin, int padded, int dim) {
    const ptrdiff_t size = static_cast<ptrdiff_t>(padded) * dim;
    keys = begin;
    values = reinterpret_cast<int8_t*>(begin + size);
    key_sums = reinterpret_cast<int32_t*>(begin + 2 * size);
    scores = reinterpret_cast<float*>(key_sums + padded);
    probabilities = reinterpret_cast<uint8_t*>(scores + kQueries * padded);
  }

  uint8_t* keys;      // [padded / 64][dim / 4][64 or 32][4], 128 added
  int8_t* values;     // [padded / 4][dim][4], the dim interleaved as PackValues does
  int32_t* key_sums;  // [padded]
  float* scores;      // [4][padded]
  uint8_t* probabilities;  // [4][padded], 128 added
};

// ---- Packing

void PackKeys(const AttendArgs& args, const Scratch& to) {
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i offset = _mm512_set1_epi32(128 * args.dim);
  for (int k = 0; k < args.tokens; k += kKeys) {
    const int live = args.tokens - k < kKeys ? args.tokens - k : kKeys;
    uint8_t* tile = to.keys + static_cast<ptrdiff_t>(k) * args.dim;
    Avx512VnniKernels()->pack(Layout::kGroups, args.keys + k * args.stride, args.stride, live,
                              args.dim, tile);
    const int vectors = live <= kNarrow ? 2 : 4;
    for (int i = 0; i < vectors; ++i) {
      __m512i sum = _mm512_setzero_si512();
      for (int g = 0; g < args.dim / 4; ++g) {
        sum = _mm512_dpbusd_epi32(sum, _mm512_load_si512(tile + 64 * (vectors * g + i)), ones);
      }
      _mm512_store_si512(to.key_sums + k + 16 * i, _mm512_sub_epi32(sum, offset));
    }
  }
}

// Vectors of as many bytes as a head has.
template <int kDim>
struct Vector;

template <>
struct Vector<64> {
  using Bytes = __m512i;
  static Bytes Load(const void* from) { return _mm512_loadu_si512(from); }
  static void Store(void* to, Bytes v) { _mm512_storeu_si512(to, v); }
  static Bytes Zero() { return _mm512_setzero_si512(); }
  static Bytes All(int32_t four) { return _mm512_set1_epi32(four); }
  static Bytes LowBytes(Bytes a, Bytes b) { return _mm512_unpacklo_epi8(a, b); }
  static Bytes HighBytes(Bytes a, Bytes b) { return _mm512_unpackhi_epi8(a, b); }
  static Bytes LowWords(Bytes a, Bytes b) { return _mm512_unpacklo_epi16(a, b); }
  static Bytes HighWords(Bytes a, Bytes b) { return _mm512_unpackhi_epi16(a, b); }
  static Bytes Add(Bytes sum, Bytes a, Bytes b) { return _mm512_dpbusd_epi32(sum, a, b); }
  static Bytes Requantize(Bytes sum, float scale, float smallest, float largest) {
    const __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale));
    return _mm512_cvtps_epi32(
        _mm512_max_ps(_mm512_min_ps(y, _mm512_set1_ps(largest)), _mm512_set1_ps(smallest)));
  }
  static Bytes Pack(Bytes a, Bytes b, Bytes c, Bytes d, int zero) {
    const Bytes z = _mm512_set1_epi16(static_cast<int16_t>(zero));
    return _mm512_packs_epi16(_mm512_add_epi16(_mm512_packs_epi32(a, b), z),
                              _mm512_add_epi16(_mm512_packs_epi32(c, d), z));
  }
};

template <>
struct Vector<32> {
  using Bytes = __m256i;
  static Bytes Load(const void* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void Store(void* to, Bytes v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
  static Bytes Zero() { return _mm256_setzero_si256(); }
  static Bytes All(int32_t four) { return _mm256_set1_epi32(four); }
  static Bytes LowBytes(Bytes a, Bytes b) { return _mm256_unpacklo_epi8(a, b); }
  static Bytes HighBytes(Bytes a, Bytes b) { return _mm256_unpackhi_epi8(a, b); }
  static Bytes LowWords(Bytes a, Bytes b) { return _mm256_unpacklo_epi16(a, b); }
  static Bytes HighWords(Bytes a, Bytes b) { return _mm256_unpackhi_epi16(a, b); }
  static Bytes Add(Bytes sum, Bytes a, Bytes b) { return _mm256_dpbusd_epi32(sum, a, b); }
  static Bytes Requantize(Bytes sum, float scale, float smallest, float largest) {
    const __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale));
    return _mm256_cvtps_epi32(
        _mm256_max_ps(_mm256_min_ps(y, _mm256_set1_ps(largest)), _mm256_set1_ps(smallest)));
  }
  static Bytes Pack(Bytes a, Bytes b, Bytes c, Bytes d, int zero) {
    const Bytes z = _mm256_set1_epi16(static_cast<int16_t>(zero));
    return _mm256_packs_epi16(_mm256_add_epi16(_mm256_packs_epi32(a, b), z),
                              _mm256_add_epi16(_mm256_packs_epi32(c, d), z));
  }
};

// Four tokens of one number of the head in each 32 bits. Within parts of 128 bits numbers are split
// into four vectors, which Pack puts together again.
template <int kDim>
void PackValues(const AttendArgs& args, const Scratch& to) {
  using V = Vector<kDim>;
  const int last = args.tokens - 1;
  for (int k = 0; k < args.tokens; k += 4) {
    typename V::Bytes x[4];
    for (int i = 0; i < 4; ++i) {
      // A missing token repeats the last one; its probability is 0.
      x[i] = V::Load(args.values + (k + i < last ? k + i : last) * args.stride);
    }
    const auto a = V::LowBytes(x[0], x[1]), b = V::HighBytes(x[0], x[1]);
    const auto c = V::LowBytes(x[2], x[3]), d = V::HighBytes(x[2], x[3]);
    int8_t* out = to.values + k * kDim;
    V::Store(out, V::LowWords(a, c));
    V::Store(out + kDim, V::HighWords(a, c));
    V::Store(out + 2 * kDim, V::LowWords(b, d));
    V::Store(out + 3 * kDim, V::HighWords(b, d));
  }
}

// ---- Scores

struct ScoreArgs {
  const AttendArgs& args;
  const Scratch& scratch;
  const int8_t* const* queries;
  int padded;
  int32_t query_sums[kQueries];
  __m512 largest[kQueries];
};

// Of one tile of keys: quantized, taken back to float and masked.
template <int kVectors>
void ScoreTile(ScoreArgs* score, int k) {
  const AttendArgs& args = score->args;
  const uint8_t* tile = score->scratch.keys + static_cast<ptrdiff_t>(k) * args.dim;
  const __m512i zero = _mm512_set1_epi32(args.query_zero);
  __m512i sums[kQueries][kVectors];
  for (int i = 0; i < kVectors; ++i) {
    const __m512i shift =
        _mm512_mullo_epi32(zero, _mm512_load_si512(score->scratch.key_sums + k + 16 * i));
    for (int q = 0; q < kQueries; ++q) {
      sums[q][i] = _mm512_sub_epi32(_mm512_set1_epi32(-128 * score->query_sums[q]), shift);
    }
  }
  for (int g = 0; g < args.dim / 4; ++g) {
    __m512i keys[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      keys[i] = _mm512_load_si512(tile + 64 * (kVectors * g + i));
    }
    for (int q = 0; q < kQueries; ++q) {
      const __m512i four = _mm512_set1_epi32(Four(score->queries[q] + 4 * g));
      for (int i = 0; i < kVectors; ++i) {
        sums[q][i] = _mm512_dpbusd_epi32(sums[q][i], keys[i], four);
      }
    }
  }
  const __m512 scale = _mm512_set1_ps(args.score_scale), step = _mm512_set1_ps(args.score_step);
  const __m512 most = _mm512_set1_ps(static_cast<float>(127 - args.score_zero));
  const __m512 least = _mm512_set1_ps(static_cast<float>(-128 - args.score_zero));
  for (int i = 0; i < kVectors; ++i) {
    const __m512 mask = _mm512_load_ps(args.mask + k + 16 * i);
    for (int q = 0; q < kQueries; ++q) {
      __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[q][i]), scale);
      y = _mm512_max_ps(_mm512_min_ps(y, most), least);
      y = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
      y = _mm512_add_ps(_mm512_mul_ps(y, step), mask);
      score->largest[q] = _mm512_max_ps(score->largest[q], y);
      _mm512_store_ps(score->scratch.scores + q * score->padded + k + 16 * i, y);
    }
  }
}

void Score(ScoreArgs* score) {
  const AttendArgs& args = score->args;
  for (int q = 0; q < kQueries; ++q) {
    score->query_sums[q] = 0;
    for (int d = 0; d < args.dim; ++d) score->query_sums[q] += score->queries[q][d];
    score->largest[q] = _mm512_set1_ps(-__builtin_inff());
  }
  for (int k = 0; k < args.tokens; k += kKeys) {
    if (args.tokens - k <= kNarrow) {
      ScoreTile<2>(score, k);
    } else {
      ScoreTile<4>(score, k);
    }
  }
}

// ---- Softmax

// XNNPACK's exp of numbers up to 0.
inline __m512 Exp(__m512 x) {
  const __m512 bias = _mm512_set1_ps(0x1.8000FEp23f);
  __m512 n = _mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p+0f), bias);
  const __m512 s = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(n), 23));
  n = _mm512_sub_ps(n, bias);
  __m512 t = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.62E400p-1f), x);
  t = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.7F7D1Cp-20f), t);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.0F9F9Cp-7f), t, _mm512_set1_ps(0x1.573A1Ap-5f));
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0x1.555A80p-3f));
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0x1.FFFDC6p-2f));
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0x1.FFFFF6p-1f));
  const __m512 f = _mm512_fmadd_ps(_mm512_mul_ps(t, s), p, s);
  const __mmask16 is_zero = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-0x1.5D589Ep6f), _CMP_LT_OS);
  return _mm512_mask_blend_ps(is_zero, f, _mm512_setzero_ps());
}

void Softmax(const AttendArgs& args, float* scores, int padded, float largest, uint8_t* out) {
  const __m512 top = _mm512_set1_ps(largest);
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  // Two sums as far as the file's rows have 64 numbers, one behind: keys beyond our tokens add 0.
  const int whole = args.length / 64 * 64;
  int k = 0;
  for (; k < (padded < whole ? padded : whole); k += 64) {
    for (int i = 0; i < 4; ++i) {
      // There is no score where there is no token; exp of it would be 0.
      if (k + 16 * i >= args.tokens) {
        _mm512_store_ps(scores + k + 16 * i, _mm512_setzero_ps());
        continue;
      }
      const __m512 f = Exp(_mm512_sub_ps(_mm512_load_ps(scores + k + 16 * i), top));
      _mm512_store_ps(scores + k + 16 * i, f);
      sums[i % 2] = _mm512_add_ps(sums[i % 2], f);
    }
  }
  __m512 sum = _mm512_add_ps(sums[0], sums[1]);
  for (; k < args.tokens; k += 16) {
    const __m512 f = Exp(_mm512_sub_ps(_mm512_load_ps(scores + k), top));
    _mm512_store_ps(scores + k, f);
    sum = _mm512_add_ps(sum, f);
  }
  const __m512 share = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
  const __m512 multiplier = _mm512_set1_ps(args.probability_multiplier);
  const __m512 most = _mm512_set1_ps(32767.0f);
  for (k = 0; k < args.tokens; k += 16) {
    const __m512 p = _mm512_mul_ps(_mm512_mul_ps(_mm512_load_ps(scores + k), share), multiplier);
    _mm_store_si128(reinterpret_cast<__m128i*>(out + k),
                    _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(_mm512_min_ps(p, most))));
  }
}

// ---- Values

template <int kDim>
void Mix(const AttendArgs& args, const Scratch& scratch, int padded, int8_t* const* outs) {
  using V = Vector<kDim>;
  typename V::Bytes sums[kQueries][4];
  for (auto& of_query : sums) {
    for (auto& sum : of_query) sum = V::Zero();
  }
  for (int k = 0; k < args.tokens; k += 4) {
    typename V::Bytes values[4];
    for (int i = 0; i < 4; ++i) values[i] = V::Load(scratch.values + (k + i) * kDim);
    for (int q = 0; q < kQueries; ++q) {
      const auto four = V::All(Four(scratch.probabilities + q * padded + k));
      for (int i = 0; i < 4; ++i) sums[q][i] = V::Add(sums[q][i], four, values[i]);
    }
  }
  const float most = static_cast<float>(127 - args.out_zero);
  const float least = static_cast<float>(-128 - args.out_zero);
  for (int q = 0; q < kQueries; ++q) {
    for (auto& sum : sums[q]) sum = V::Requantize(sum, args.out_scale, least, most);
    V::Store(outs[q], V::Pack(sums[q][0], sums[q][1], sums[q][2], sums[q][3], args.out_zero));
  }
}

template <int kDim>
void Attend(const AttendArgs& args) {
  const int padded = RoundUp(args.tokens, kKeys);
  const Scratch scratch(args.scratch, padded, kDim);
  PackKeys(args, scratch);
  PackValues<kDim>(args, scratch);
  for (int t = 0; t < args.tokens; t += kQueries) {
    const QueryRows<kQueries> rows(args, t);
    ScoreArgs score = {args, scratch, rows.queries, padded, {}, {}};
    Score(&score);
    for (int q = 0; q < kQueries; ++q) {
      Softmax(args, scratch.scores + q * padded, padded, _mm512_reduce_max_ps(score.largest[q]),
              scratch.probabilities + q * padded);
    }
    Mix<kDim>(args, scratch, padded, rows.outs);
  }
}

}  // namespace

bool CanAttendAvx512(int dim) { return dim == 32 || dim == 64; }

size_t AttendScratchBytesAvx512(int tokens, int dim) {
  const size_t padded = RoundUp(tokens, kKeys);
  return padded * (2 * dim + sizeof(int32_t) + kQueries * (sizeof(float) + 1));
}

void AttendAvx512(const AttendArgs& args) {
  if (args.dim == 64) {
    Attend<64>(args);
  } else {
    Attend<32>(args);
  }
}

}  // namespace tf_prune_ofa
