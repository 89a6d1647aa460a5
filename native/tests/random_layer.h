// Random layers and inputs, and what they give, computed as plainly as it can be said.
#ifndef TF_PRUNE_OFA_TESTS_RANDOM_LAYER_H_
#define TF_PRUNE_OFA_TESTS_RANDOM_LAYER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "layer.h"

namespace tf_prune_ofa {

struct RandomLayer {
  int rows, columns, tokens;
  std::vector<int8_t> weights;  // [rows][columns]
  LayerParameters parameters;
  std::vector<int8_t> bytes;    // the input, static
  std::vector<float> floats;    // the input, dynamic

  bool is_static() const { return parameters.arithmetic == Arithmetic::kStatic; }
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  // From `low` to `high`, both possible.
  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  float Float(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(engine_);
  }
  float Normal() { return std::normal_distribution<float>()(engine_); }
  bool Chance(double of) { return std::uniform_real_distribution<double>(0, 1)(engine_) < of; }

 private:
  std::mt19937 engine_;
};

// Sizes small enough for many layers, and now and then one that needs several tiles of columns.
inline RandomLayer MakeLayer(Random* random) {
  RandomLayer layer;
  layer.rows = random->Int(1, random->Chance(0.1) ? 600 : 70);
  layer.columns = random->Int(1, random->Chance(0.2) ? 2500 : 200);
  layer.tokens = random->Int(1, random->Chance(0.1) ? 300 : 140);
  if (static_cast<int64_t>(layer.rows) * layer.columns * layer.tokens > 4000000) {
    layer.tokens = random->Int(1, 9);
  }
  const double zeros = random->Chance(0.1) ? 1 : random->Float(0, 1);
  const int block = random->Chance(0.5) ? 4 : 1;
  // The largest products, whose sums are where an instruction would saturate.
  const bool is_extreme = random->Chance(0.2);
  layer.weights.assign(static_cast<size_t>(layer.rows) * layer.columns, 0);
  for (int n = 0; n < layer.rows; ++n) {
    for (int k = 0; k < layer.columns; k += block) {
      if (random->Chance(zeros)) continue;
      for (int i = k; i < std::min(k + block, layer.columns); ++i) {
        layer.weights[static_cast<size_t>(n) * layer.columns + i] =
            static_cast<int8_t>(is_extreme ? (random->Chance(0.5) ? 127 : -128)
                                           : random->Int(-128, 127));
      }
    }
  }

  LayerParameters& p = layer.parameters;
  p.arithmetic = random->Chance(0.5) ? Arithmetic::kStatic : Arithmetic::kDynamic;
  const bool is_per_tensor = random->Chance(0.3);
  const float scale = random->Float(0.001f, 0.02f);
  for (int n = 0; n < layer.rows; ++n) {
    p.weight_scales.push_back(is_per_tensor ? scale : random->Float(0.001f, 0.02f));
    p.integer_bias.push_back(random->Int(-20000, 20000));
    p.float_bias.push_back(random->Normal());
  }
  p.input_scale = random->Float(0.01f, 0.1f);
  p.output_scale = random->Float(0.02f, 2.0f);
  p.input_zero_point = random->Int(-128, 127);
  p.output_zero_point = random->Int(-128, 127);
  const float infinity = std::numeric_limits<float>::infinity();
  const float limits[][2] = {{-infinity, infinity}, {0, infinity}, {0, 6}, {-1, 1}};
  const int activation = random->Int(0, 3);
  p.minimum = limits[activation][0];
  p.maximum = limits[activation][1];

  const size_t inputs = static_cast<size_t>(layer.tokens) * layer.columns;
  const float shift = random->Normal();
  for (size_t i = 0; i < inputs; ++i) {
    layer.bytes.push_back(static_cast<int8_t>(
        is_extreme ? (random->Chance(0.5) ? 127 : -128) : random->Int(-128, 127)));
    layer.floats.push_back(random->Normal() + shift);
  }
  if (random->Chance(0.1)) {  // a token of nothing but zeros
    std::fill(layer.floats.begin(), layer.floats.begin() + layer.columns, 0.0f);
  }
  return layer;
}

// As XNNPACK's qd8: see RowQuantization. Kept apart from the code that is tested.
inline void QuantizeRow(const float* x, int columns, bool rounds_as_kleidiai, std::vector<int>* q,
                        int* zero_point, float* scale) {
  const float low = std::min(0.0f, *std::min_element(x, x + columns));
  const float high = std::max(0.0f, *std::max_element(x, x + columns));
  const float multiplier = low == high ? 1.0f : 255.0f / (high - low);
  const float a = low * multiplier, b = high * multiplier;
  const float place = (-128.0f + a) + (127.0f + b) > 0 ? -128.0f - a : 127.0f - b;
  *zero_point = static_cast<int>(std::rint(std::min(std::max(place, -128.0f), 127.0f)));
  *scale = 1.0f / multiplier;
  q->clear();
  for (int k = 0; k < columns; ++k) {
    const float scaled = x[k] * multiplier;
    const float held = std::min(scaled, static_cast<float>(127 - *zero_point));
    const int rounded = static_cast<int>(rounds_as_kleidiai ? std::round(held) : std::rint(held));
    q->push_back(std::max(-128, std::min(127, rounded + *zero_point)));
  }
}

// `rounds_as_kleidiai`: as in Kernels.
inline std::vector<float> ExpectedFloats(const RandomLayer& layer, bool rounds_as_kleidiai) {
  const LayerParameters& p = layer.parameters;
  std::vector<float> out;
  std::vector<int> q;
  for (int t = 0; t < layer.tokens; ++t) {
    int zero_point;
    float scale;
    QuantizeRow(layer.floats.data() + static_cast<size_t>(t) * layer.columns, layer.columns,
                rounds_as_kleidiai, &q, &zero_point, &scale);
    for (int n = 0; n < layer.rows; ++n) {
      int32_t sum = 0;
      for (int k = 0; k < layer.columns; ++k) {
        sum += (q[k] - zero_point) * layer.weights[static_cast<size_t>(n) * layer.columns + k];
      }
      const float scaled = static_cast<float>(sum) * scale;
      const float product = static_cast<float>(sum) * (scale * p.weight_scales[n]);
      const float value = rounds_as_kleidiai ? product + p.float_bias[n]
                                            : std::fma(scaled, p.weight_scales[n], p.float_bias[n]);
      out.push_back(std::min(std::max(value, p.minimum), p.maximum));
    }
  }
  return out;
}

inline std::vector<int8_t> ExpectedBytes(const RandomLayer& layer) {
  const LayerParameters& p = layer.parameters;
  const auto quantized = [&p](float limit) {
    const float place = limit / p.output_scale + static_cast<float>(p.output_zero_point);
    return std::rint(std::min(std::max(place, -128.0f), 127.0f));
  };
  std::vector<int8_t> out;
  for (int t = 0; t < layer.tokens; ++t) {
    for (int n = 0; n < layer.rows; ++n) {
      int32_t sum = p.integer_bias[n];
      for (int k = 0; k < layer.columns; ++k) {
        sum += (layer.bytes[static_cast<size_t>(t) * layer.columns + k] - p.input_zero_point) *
               layer.weights[static_cast<size_t>(n) * layer.columns + k];
      }
      const float scale = p.input_scale * p.weight_scales[n] / p.output_scale;
      const float place = std::rint(static_cast<float>(sum) * scale) +
                          static_cast<float>(p.output_zero_point);
      out.push_back(static_cast<int8_t>(
          std::max(quantized(p.minimum), std::min(quantized(p.maximum), place))));
    }
  }
  return out;
}

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_TESTS_RANDOM_LAYER_H_
