// What the encoder's kernels have in common on all instruction sets. In the anonymous namespace, so that
// each source has it compiled for its own instructions.
#ifndef TF_PRUNE_OFA_ENCODER_COMMON_H_
#define TF_PRUNE_OFA_ENCODER_COMMON_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "encoder_kernel.h"

namespace tf_prune_ofa {
namespace {

inline int RoundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Where some queries of a head begin, and their results.
template <int kCount>
struct QueryRows {
  QueryRows(const AttendArgs& args, int first) {
    for (int q = 0; q < kCount; ++q) {
      // The last ones may hold a token twice: it is written twice, with the same numbers.
      const ptrdiff_t token = first + q < args.tokens ? first + q : args.tokens - 1;
      queries[q] = args.queries + token * args.stride;
      outs[q] = args.out + token * args.stride;
    }
  }
  const int8_t* queries[kCount];
  int8_t* outs[kCount];
};

// What is added to `a` in front of a normalization.
enum class Second { kNone, kFloat, kBytes };

constexpr int kMostColumns = 4096;

// normalize(constant of a Second, token, x) for each token; x has room for the numbers of one.
template <typename Normalize>
void NormalizeTokens(const NormalizeArgs& args, Normalize normalize) {
  alignas(64) float x[kMostColumns];
  for (int token = 0; token < args.tokens; ++token) {
    if (args.b_bytes != nullptr) {
      normalize(std::integral_constant<Second, Second::kBytes>(), token, x);
    } else if (args.b != nullptr) {
      normalize(std::integral_constant<Second, Second::kFloat>(), token, x);
    } else {
      normalize(std::integral_constant<Second, Second::kNone>(), token, x);
    }
  }
}

}  // namespace
}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ENCODER_COMMON_H_
