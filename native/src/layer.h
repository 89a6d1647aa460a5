// One fully-connected layer, ready to run.
#ifndef TF_PRUNE_OFA_LAYER_H_
#define TF_PRUNE_OFA_LAYER_H_

#include <cstdint>
#include <vector>

#include "kernel.h"
#include "thread_pool.h"

namespace tf_prune_ofa {

enum class Arithmetic : uint8_t {
  kStatic,   // INT8 in and out
  kDynamic,  // float32 in and out, the input quantized row by row
};

// What a layer is, apart from its weights. N rows, one for each output.
struct LayerParameters {
  Arithmetic arithmetic = Arithmetic::kStatic;
  std::vector<float> weight_scales;   // [N]
  std::vector<int32_t> integer_bias;  // [N], static
  std::vector<float> float_bias;      // [N], dynamic
  // Static only.
  float input_scale = 1, output_scale = 1;
  int32_t input_zero_point = 0, output_zero_point = 0;
  // Of the fused activation, in real numbers; may be infinite.
  float minimum = 0, maximum = 0;
};

// Memory that grows to a size and is aligned for vectors.
class Buffer {
 public:
  void Reserve(size_t bytes);
  uint8_t* get() const { return begin_; }

 private:
  std::vector<uint8_t> storage_;
  uint8_t* begin_ = nullptr;
};

// Activations of one tensor in the layout of the kernels, shared by the layers that read it.
class PackedActivations {
 public:
  // Memory for up to `tokens` tokens of `columns` columns and `threads` threads.
  void Reserve(const Kernels& kernels, int tokens, int columns, int threads);

  // `input`: [tokens][columns], int8 or float.
  void PackStatic(const Kernels& kernels, Layout layout, const int8_t* input, int tokens,
                  int columns, ThreadPool* pool);
  void PackDynamic(const Kernels& kernels, Layout layout, const float* input, int tokens,
                   int columns, ThreadPool* pool);

  const uint8_t* tile(int token_tile) const { return packed_.get() + token_tile * tile_bytes_; }
  const int32_t* zero_points() const { return zero_points_.data(); }
  const float* scales() const { return scales_.data(); }
  int tokens() const { return tokens_; }

 private:
  void SetSize(const Kernels& kernels, int tokens, int columns);

  Buffer packed_;
  std::vector<Buffer> rows_;  // of each thread: one tile's rows as INT8
  std::vector<int32_t> zero_points_;
  std::vector<float> scales_;
  size_t tile_bytes_ = 0;
  int tokens_ = 0;
};

// Sums of each thread.
class Sums {
 public:
  void Reserve(const Kernels& kernels, int threads);
  int32_t* of(int thread) const { return reinterpret_cast<int32_t*>(buffers_[thread].get()); }

 private:
  std::vector<Buffer> buffers_;
};

class Layer {
 public:
  Layer(const Kernels& kernels, PackedWeights weights, LayerParameters parameters);

  Arithmetic arithmetic() const { return parameters_.arithmetic; }
  Layout layout() const { return weights_.layout; }
  int rows() const { return weights_.rows; }

  // `output`: [tokens][N], int8 or float.
  void Run(const PackedActivations& activations, void* output, const Sums& sums,
           ThreadPool* pool) const;

 private:
  void RunItem(const PackedActivations& activations, void* output, int32_t* sums, int token_tile,
               int row_begin, int row_end) const;

  const Kernels& kernels_;
  PackedWeights weights_;
  LayerParameters parameters_;
  // Static: what a sum starts from, what it is multiplied with, and the quantized activation.
  std::vector<int32_t> starts_;
  std::vector<float> requantization_;
  int32_t quantized_minimum_ = -128, quantized_maximum_ = 127;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_LAYER_H_
