// Operators between the layers of an encoder that the delegate runs as one: found in the graph.
#ifndef TF_PRUNE_OFA_FUSION_H_
#define TF_PRUNE_OFA_FUSION_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "encoder_kernel.h"
#include "graph.h"

namespace tf_prune_ofa {

// RESHAPE, TRANSPOSE, BATCH_MATMUL, DEQUANTIZE, ADD (of the mask), SOFTMAX, QUANTIZE, BATCH_MATMUL,
// TRANSPOSE, RESHAPE. Tensors are [tokens][heads * dim].
struct Attention {
  int queries, keys, values, mask, output;
  int tokens, heads, dim;
  AttendArgs quantization;  // its scales and zero points
};

// [DEQUANTIZE,] ADD, and LayerNorm as the exporter spells it out, [QUANTIZE].
struct Normalization {
  int a, b;          // b: -1 if there is no addition
  bool has_bytes;    // b is INT8
  int output;        // float
  int output_bytes;  // -1 if nobody quantizes it
  std::vector<float> gamma, beta;
  NormalizeArgs parameters;  // its numbers, all tokens
};

// DEQUANTIZE, GELU, QUANTIZE.
struct Table {
  int input, output;
  int64_t count;
  std::array<int8_t, 256> entries;  // of the number i - 128
};

struct Fusion {
  std::vector<int> nodes;   // in the order of execution; what is computed is there at the last one
  std::vector<int> hidden;  // tensors that are never written
  // Whose writer must be the delegate's too, and all of whose readers must be.
  std::vector<int> needs_writer, needs_readers;
  int runs_at;  // of `nodes`
  // One of them.
  std::shared_ptr<const Attention> attention;
  std::shared_ptr<const Normalization> normalization;
  std::shared_ptr<const Table> table;
};

// A tensor that a fusion reads or writes, and how many numbers it takes for granted.
struct FusionTensor {
  int tensor;
  int64_t count;
  bool is_float;
};

std::vector<FusionTensor> Reads(const Fusion& fusion);
std::vector<FusionTensor> Writes(const Fusion& fusion);

// All that `kernels` can compute.
std::vector<Fusion> FindFusions(const Graph& graph, const EncoderKernels& kernels);

// The parts of it, for one operator each: the softmax, the reciprocal root, the GELU.
bool MatchAttention(const Graph& graph, const EncoderKernels& kernels, const Operator& softmax,
                    Fusion* fusion);
bool MatchNormalization(const Graph& graph, const EncoderKernels& kernels, const Operator& root,
                        Fusion* fusion);
bool MatchTable(const Graph& graph, const Operator& gelu, Fusion* fusion);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_FUSION_H_
