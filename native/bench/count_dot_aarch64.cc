// One layer's products, for counting instructions: sparse kernels or a dense SDOT loop.
//
//   count_dot_aarch64 KERNELS LAYOUT ROWS COLUMNS TOKENS ZEROS BLOCK
//
// KERNELS: neondot, neon or dense; LAYOUT: groups or columns; BLOCK: 1 for zeros anywhere, 4 for
// blocks of 1x4. What is counted is Accumulate and DenseAccumulate (qemu_count_plugin.c): sums in
// 32 bits, without packing and requantization, which are the same work for dense and sparse.
// ROWS and TOKENS: multiples of 12 and 8 for dense.
#include <arm_neon.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernel.h"
#include "pack_weights.h"

using tf_prune_ofa::AccumulateArgs;
using tf_prune_ofa::FindKernels;
using tf_prune_ofa::Kernels;
using tf_prune_ofa::Layout;
using tf_prune_ofa::PackedWeights;
using tf_prune_ofa::PackWeights;

namespace {

constexpr int kDenseTokens = 8, kDenseRows = 12;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using Aligned = std::unique_ptr<T[], Free>;
template <typename T>
Aligned<T> Allocate(size_t count) {
  const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
  Aligned<T> memory(static_cast<T*>(std::aligned_alloc(64, bytes)));
  std::memset(memory.get(), 1, bytes);
  return memory;
}

}  // namespace

// The usual dense kernel: 8 tokens by 12 rows in 24 registers of sums, both sides packed in fours of
// columns, the tokens in lanes. out: [8][12]. The columns a multiple of 4.
extern "C" __attribute__((noinline)) void DenseAccumulate(const int8_t* tokens, const int8_t* rows,
                                                          int columns, int32_t* out) {
  int32x4_t sums[kDenseTokens][3];
#pragma GCC unroll 8
  for (int t = 0; t < kDenseTokens; ++t) sums[t][0] = sums[t][1] = sums[t][2] = vdupq_n_s32(0);
#pragma GCC unroll 4
  for (int column = 0; column < columns; column += 4) {
    const int8x16x2_t a = vld1q_s8_x2(tokens);
    const int8x16x3_t b = vld1q_s8_x3(rows);
    tokens += 4 * kDenseTokens;
    rows += 4 * kDenseRows;
#define TOKEN(t)                                                          \
  sums[t][0] = vdotq_laneq_s32(sums[t][0], b.val[0], a.val[t / 4], t % 4); \
  sums[t][1] = vdotq_laneq_s32(sums[t][1], b.val[1], a.val[t / 4], t % 4); \
  sums[t][2] = vdotq_laneq_s32(sums[t][2], b.val[2], a.val[t / 4], t % 4);
    TOKEN(0) TOKEN(1) TOKEN(2) TOKEN(3) TOKEN(4) TOKEN(5) TOKEN(6) TOKEN(7)
#undef TOKEN
  }
#pragma GCC unroll 8
  for (int t = 0; t < kDenseTokens; ++t) {
    vst1q_s32(out + kDenseRows * t, sums[t][0]);
    vst1q_s32(out + kDenseRows * t + 4, sums[t][1]);
    vst1q_s32(out + kDenseRows * t + 8, sums[t][2]);
  }
}

namespace {

void RunDense(int rows, int columns, int tokens) {
  const auto a = Allocate<int8_t>(size_t(tokens) * columns);
  const auto b = Allocate<int8_t>(size_t(rows) * columns);
  const auto out = Allocate<int32_t>(kDenseTokens * kDenseRows);
  for (int t = 0; t < tokens; t += kDenseTokens) {
    for (int n = 0; n < rows; n += kDenseRows) {
      DenseAccumulate(a.get() + t * columns, b.get() + n * columns, columns, out.get());
      asm volatile("" : : "r"(out.get()) : "memory");  // or the unused result would be left out
    }
  }
}

void RunSparse(const Kernels& kernels, Layout layout, int rows, int columns, int tokens,
               double zeros, int block) {
  std::mt19937 random(0);
  std::vector<int8_t> dense(size_t(rows) * columns);
  for (size_t i = 0; i < dense.size(); i += block) {
    const bool is_live = std::uniform_real_distribution<>()(random) >= zeros;
    for (int j = 0; j < block; ++j) dense[i + j] = is_live ? 1 + random() % 127 : 0;
  }
  const int tile = tf_prune_ofa::ChooseTileColumns(columns, kernels.tile_columns);
  const PackedWeights packed = PackWeights(dense.data(), rows, columns, kernels, layout, tile);
  const auto activations = Allocate<uint8_t>(size_t(tile) * kernels.tokens * kernels.sample_bytes);
  const auto sums = Allocate<int32_t>(size_t(rows) * kernels.tokens);
  for (int t = 0; t < tokens; t += kernels.tokens) {
    for (int i = 0; i < packed.tiles; ++i) {
      AccumulateArgs args = {};
      args.layout = layout;
      args.starts = packed.starts.data() + size_t(i) * (rows + 1);
      args.order = packed.orders.data() + size_t(i) * rows;
      args.offsets = packed.offsets.data();
      args.weights = packed.weights.data();
      args.row_end = rows;
      args.activations = activations.get();
      args.sums = sums.get();
      args.add = i > 0;
      kernels.accumulate(args);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "%s KERNELS LAYOUT ROWS COLUMNS TOKENS ZEROS BLOCK\n", argv[0]);
    return 2;
  }
  const int rows = std::atoi(argv[3]), columns = std::atoi(argv[4]), tokens = std::atoi(argv[5]);
  if (std::strcmp(argv[1], "dense") == 0) {
    RunDense(rows, columns, tokens);
    return 0;
  }
  const Kernels* kernels = FindKernels(argv[1]);
  if (kernels == nullptr) {
    std::fprintf(stderr, "no kernels called %s here\n", argv[1]);
    return 2;
  }
  const Layout layout = std::strcmp(argv[2], "columns") == 0 ? Layout::kColumns : Layout::kGroups;
  RunSparse(*kernels, layout, rows, columns, tokens, std::atof(argv[6]), std::atoi(argv[7]));
  return 0;
}
