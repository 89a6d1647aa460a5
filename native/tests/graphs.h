// Graphs with one random layer, in the forms that files have it.
#ifndef TF_PRUNE_OFA_TESTS_GRAPHS_H_
#define TF_PRUNE_OFA_TESTS_GRAPHS_H_

#include <memory>
#include <vector>

#include "fake_host.h"
#include "random_layer.h"

namespace tf_prune_ofa {

constexpr int kReshapeCode = 22;

struct LayerGraph {
  std::unique_ptr<FakeHost> host = std::make_unique<FakeHost>();
  int input = 0, output = 0;
};

inline TfLiteFusedActivation ActivationOf(const LayerParameters& parameters) {
  if (parameters.minimum == -1) return kTfLiteActReluN1To1;
  if (parameters.maximum == 6) return kTfLiteActRelu6;
  return parameters.minimum == 0 ? kTfLiteActRelu : kTfLiteActNone;
}

// By output, or for the tensor where all scales are one.
inline void QuantizeWeights(FakeHost* host, int tensor, const RandomLayer& layer) {
  std::vector<float> scales = layer.parameters.weight_scales;
  if (std::count(scales.begin(), scales.end(), scales[0]) == layer.rows) scales.resize(1);
  host->Quantize(tensor, scales, std::vector<int>(scales.size(), 0));
}

inline int AddBias(FakeHost* host, const RandomLayer& layer) {
  return layer.is_static()
             ? host->AddConstant(kTfLiteInt32, {layer.rows}, layer.parameters.integer_bias)
             : host->AddConstant(kTfLiteFloat32, {layer.rows}, layer.parameters.float_bias);
}

inline int AddActivations(FakeHost* host, const RandomLayer& layer, const std::vector<int>& shape,
                          bool is_input) {
  const LayerParameters& p = layer.parameters;
  if (!layer.is_static()) return host->AddTensor(kTfLiteFloat32, shape);
  const int tensor = host->AddTensor(kTfLiteInt8, shape);
  host->Quantize(tensor, {is_input ? p.input_scale : p.output_scale},
                 {is_input ? p.input_zero_point : p.output_zero_point});
  return tensor;
}

// FULLY_CONNECTED on dense weights.
inline LayerGraph DenseGraph(const RandomLayer& layer, bool keeps_dimensions) {
  LayerGraph graph;
  FakeHost* host = graph.host.get();
  graph.input = AddActivations(host, layer, {1, layer.tokens, layer.columns}, true);
  const int weights = host->AddConstant(kTfLiteInt8, {layer.rows, layer.columns}, layer.weights);
  QuantizeWeights(host, weights, layer);
  const int bias = AddBias(host, layer);
  const std::vector<int> shape = keeps_dimensions
                                     ? std::vector<int>{1, layer.tokens, layer.rows}
                                     : std::vector<int>{layer.tokens, layer.rows};
  graph.output = AddActivations(host, layer, shape, false);
  TfLiteFullyConnectedParams parameters = {};
  parameters.activation = ActivationOf(layer.parameters);
  parameters.keep_num_dims = keeps_dimensions;
  host->AddNode(kTfLiteBuiltinFullyConnected, 5, {graph.input, weights, bias}, {graph.output},
                parameters);
  host->graph_outputs = {graph.output};
  return graph;
}

// Weights in TFLite's sparse encoding, `block` of them side by side; the last dimension is sparse.
inline int AddSparseWeights(FakeHost* host, const RandomLayer& layer, const std::vector<int>& shape,
                            int block) {
  const int length = shape.back();
  std::vector<int> segments = {0}, indices;
  std::vector<int8_t> values;
  for (size_t begin = 0; begin < layer.weights.size(); begin += length) {
    for (int k = 0; k < length; k += block) {
      const int8_t* w = &layer.weights[begin + k];
      if (std::count(w, w + block, 0) == block) continue;
      indices.push_back(k / block);
      values.insert(values.end(), w, w + block);
    }
    segments.push_back(static_cast<int>(indices.size()));
  }
  const int tensor = host->AddConstant(kTfLiteInt8, shape, values);
  std::vector<int> order;
  std::vector<TfLiteDimensionMetadata> levels;
  for (size_t d = 0; d < shape.size(); ++d) {
    order.push_back(static_cast<int>(d));
    levels.push_back({kTfLiteDimDense, shape[d], nullptr, nullptr});
  }
  levels.back() = {kTfLiteDimSparseCSR, 0, host->KeptInts(segments), host->KeptInts(indices)};
  std::vector<int> block_map;
  if (block > 1) {
    order.push_back(static_cast<int>(shape.size()));
    block_map = {static_cast<int>(shape.size()) - 1};
    levels.push_back({kTfLiteDimDense, block, nullptr, nullptr});
  }
  host->AddSparsity(tensor, order, block_map, levels);
  QuantizeWeights(host, tensor, layer);
  return tensor;
}

// FULLY_CONNECTED on sparse weights, in blocks that divide the columns.
inline LayerGraph SparseGraph(const RandomLayer& layer, int block) {
  LayerGraph graph = DenseGraph(layer, true);
  FakeHost* host = graph.host.get();
  host->node(0).inputs->data[1] =
      AddSparseWeights(host, layer, {layer.rows, layer.columns}, block);
  host->registration(0).version = 8;
  return graph;
}

// RESHAPE, DENSIFY, CONV_2D whose window is the whole input in `width` places, RESHAPE: the package's
// own compact form. `layer` is static, `width` divides its columns.
inline LayerGraph CompactGraph(const RandomLayer& layer, int width) {
  LayerGraph graph;
  FakeHost* host = graph.host.get();
  const int channels = layer.columns / width;
  graph.input = AddActivations(host, layer, {1, layer.tokens, layer.columns}, true);
  const int image = AddActivations(host, layer, {1, layer.tokens, width, channels}, true);
  const std::vector<int> window = {layer.rows, 1, width, channels};
  const int stored = AddSparseWeights(host, layer, window, 1);
  const int weights = host->AddTensor(kTfLiteInt8, window);
  QuantizeWeights(host, weights, layer);
  const int bias = AddBias(host, layer);
  const int column = AddActivations(host, layer, {1, layer.tokens, 1, layer.rows}, false);
  graph.output = AddActivations(host, layer, {1, layer.tokens, layer.rows}, false);
  const int shape = host->AddConstant(kTfLiteInt32, {4}, std::vector<int>{1, layer.tokens, width, channels});
  const int back = host->AddConstant(kTfLiteInt32, {3}, std::vector<int>{1, layer.tokens, layer.rows});
  TfLiteConvParams parameters = {};
  parameters.padding = kTfLitePaddingValid;
  parameters.stride_width = parameters.stride_height = 1;
  parameters.dilation_width_factor = parameters.dilation_height_factor = 1;
  parameters.activation = ActivationOf(layer.parameters);
  host->AddNode(kReshapeCode, 1, {graph.input, shape}, {image}, 0);
  host->AddNode(kTfLiteBuiltinDensify, 1, {stored}, {weights}, 0);
  host->AddNode(kTfLiteBuiltinConv2d, 3, {image, weights, bias}, {column}, parameters);
  host->AddNode(kReshapeCode, 1, {column, back}, {graph.output}, 0);
  host->graph_outputs = {graph.output};
  return graph;
}

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_TESTS_GRAPHS_H_
