// A layer with random weights, to be timed.
#ifndef TF_PRUNE_OFA_BENCH_BENCH_LAYER_H_
#define TF_PRUNE_OFA_BENCH_BENCH_LAYER_H_

#include <time.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "kernel.h"
#include "layer.h"
#include "pack_weights.h"

namespace tf_prune_ofa {

// CPU time of this thread.
inline double NowMicroseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

// The least of several runs: what the code can do, not what a busy machine does.
template <typename Function>
double Microseconds(Function function) {
  double least = std::numeric_limits<double>::max();
  for (int run = 0; run < 15; ++run) {
    const double begin = NowMicroseconds();
    function();
    least = std::min(least, NowMicroseconds() - begin);
  }
  return least;
}

// Each 1 x `block` of a row is 0 or drawn.
inline std::vector<int8_t> RandomWeights(int rows, int columns, double zeros, int block) {
  std::mt19937 random(static_cast<unsigned>(rows + columns));
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<int8_t> weights(static_cast<size_t>(rows) * columns);
  for (size_t i = 0; i < weights.size(); i += block) {
    if (uniform(random) < zeros) continue;
    for (int j = 0; j < block; ++j) weights[i + j] = static_cast<int8_t>(random() % 127 + 1);
  }
  return weights;
}

class BenchLayer {
 public:
  BenchLayer(const Kernels& kernels, int rows, int columns, int tokens, double zeros, int block,
             Layout layout, Arithmetic arithmetic)
      : kernels_(kernels), columns_(columns), tokens_(tokens), layout_(layout) {
    const std::vector<int8_t> dense = RandomWeights(rows, columns, zeros, block);
    nonzeros = static_cast<double>(dense.size()) -
               static_cast<double>(std::count(dense.begin(), dense.end(), 0));
    PackedWeights packed = PackWeights(dense.data(), rows, columns, kernels, layout,
                                       ChooseTileColumns(columns, kernels.tile_columns));
    entries = static_cast<double>(packed.weights.size()) / 4;
    weight_bytes = static_cast<double>(packed.weights.size() + 2 * packed.offsets.size());
    tiles = packed.tiles;
    LayerParameters parameters;
    parameters.arithmetic = arithmetic;
    parameters.weight_scales.assign(rows, 0.01f);
    parameters.integer_bias.assign(rows, 1);
    parameters.float_bias.assign(rows, 1);
    parameters.output_scale = 4;
    parameters.minimum = -std::numeric_limits<float>::infinity();
    parameters.maximum = std::numeric_limits<float>::infinity();
    layer_ = std::make_unique<Layer>(kernels, std::move(packed), parameters);
    activations_.Reserve(kernels, tokens, columns, 1);
    sums_.Reserve(kernels, 1);
    std::mt19937 random(1);
    for (int i = 0; i < tokens * columns; ++i) {
      bytes_.push_back(static_cast<int8_t>(random()));
      floats_.push_back(bytes_.back());
    }
    out_.resize(static_cast<size_t>(tokens) * rows);
  }

  double PackMicroseconds() {
    return Microseconds([this] {
      if (layer_->arithmetic() == Arithmetic::kDynamic) {
        activations_.PackDynamic(kernels_, layout_, floats_.data(), tokens_, columns_, &pool_);
      } else {
        activations_.PackStatic(kernels_, layout_, bytes_.data(), tokens_, columns_, &pool_);
      }
    });
  }

  // After packing.
  double RunMicroseconds() {
    return Microseconds([this] { layer_->Run(activations_, out_.data(), sums_, &pool_); });
  }

  double nonzeros = 0, entries = 0, weight_bytes = 0;
  int tiles = 0;

 private:
  const Kernels& kernels_;
  int columns_, tokens_;
  Layout layout_;
  ThreadPool pool_{1};
  std::unique_ptr<Layer> layer_;
  PackedActivations activations_;
  Sums sums_;
  std::vector<int8_t> bytes_;
  std::vector<float> floats_, out_;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_BENCH_BENCH_LAYER_H_
