// The inner loops of AVX512-VNNI, marked for llvm-mca: an entry of two rows each, 64 tokens, as in
// kernels_avx512vnni.cc. Never run; see model_cycles.py.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define BEGIN(name) asm volatile("# LLVM-MCA-BEGIN " name ::: "memory");
#define END asm volatile("# LLVM-MCA-END" ::: "memory");

namespace {

inline __m512i Load(const void* from) { return _mm512_load_si512(from); }

template <bool kByShifts>
inline void AddColumns(const uint8_t* x, const uint16_t* offsets, const int8_t* weights,
                       __m512i* sums) {
  uint64_t four;
  std::memcpy(&four, offsets, sizeof(four));
  const __m512i x0 = Load(x + (four & 0xffff)), x1 = Load(x + (four >> 16 & 0xffff));
  const __m512i x2 = Load(x + (four >> 32 & 0xffff)), x3 = Load(x + (four >> 48));
  int32_t bytes;
  std::memcpy(&bytes, weights, sizeof(bytes));
  const __m512i w = _mm512_set1_epi32(bytes);
  const __m512i a = _mm512_unpacklo_epi8(x0, x1), b = _mm512_unpackhi_epi8(x0, x1);
  const __m512i c = _mm512_unpacklo_epi8(x2, x3), d = _mm512_unpackhi_epi8(x2, x3);
  constexpr __mmask32 kOdd = 0xaaaaaaaa;
  const __m512i first = kByShifts ? _mm512_mask_blend_epi16(kOdd, a, _mm512_slli_epi32(c, 16))
                                  : _mm512_unpacklo_epi16(a, c);
  const __m512i second = kByShifts ? _mm512_mask_blend_epi16(kOdd, _mm512_srli_epi32(a, 16), c)
                                   : _mm512_unpackhi_epi16(a, c);
  sums[0] = _mm512_dpbusd_epi32(sums[0], first, w);
  sums[1] = _mm512_dpbusd_epi32(sums[1], second, w);
  sums[2] = _mm512_dpbusd_epi32(sums[2], _mm512_unpacklo_epi16(b, d), w);
  sums[3] = _mm512_dpbusd_epi32(sums[3], _mm512_unpackhi_epi16(b, d), w);
}

}  // namespace

#define LOOP(function, name, by_shifts)                                                            \
  extern "C" void function(const uint8_t* x, const uint16_t* offsets0, const uint16_t* offsets1,   \
                           const int8_t* weights0, const int8_t* weights1, int32_t* out, int n) {  \
    __m512i sums[8];                                                                               \
    for (int i = 0; i < 8; ++i) sums[i] = Load(out + 16 * i);                                      \
    for (; n > 0; --n, offsets0 += 4, offsets1 += 4, weights0 += 4, weights1 += 4) {               \
      BEGIN(name) AddColumns<by_shifts>(x, offsets0, weights0, sums);                              \
      AddColumns<by_shifts>(x, offsets1, weights1, sums + 4);                                      \
      END                                                                                          \
    }                                                                                              \
    for (int i = 0; i < 8; ++i) _mm512_store_si512(out + 16 * i, sums[i]);                         \
  }
LOOP(ColumnsByShuffles, "columns", false)
LOOP(ColumnsByShifts, "columns_shifts", true)
