#include "claim.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>

#include "claim_fusions.h"
#include "graph.h"
#include "pack_weights.h"
#include "sparse_tensor.h"

namespace tf_prune_ofa {
namespace {

// FULLY_CONNECTED has operands from this version on that we do not know.
constexpr int kUnknownFullyConnected = 15;
// Above it int32 sums of 255 * 128 * K might overflow.
constexpr int kMostColumns = 1 << 16;
// Layers below any of these save next to nothing even on the processors where zeros pay best.
constexpr double kFewestZeros = 0.3;
constexpr int kFewestTokens = 16;
constexpr size_t kFewestProducts = 1 << 20;

bool Limits(TfLiteFusedActivation activation, float* minimum, float* maximum) {
  const float infinity = std::numeric_limits<float>::infinity();
  switch (activation) {
    case kTfLiteActNone:
      *minimum = -infinity;
      *maximum = infinity;
      return true;
    case kTfLiteActRelu:
      *minimum = 0;
      *maximum = infinity;
      return true;
    case kTfLiteActReluN1To1:
      *minimum = -1;
      *maximum = 1;
      return true;
    case kTfLiteActRelu6:
      *minimum = 0;
      *maximum = 6;
      return true;
    default:
      return false;
  }
}

class Finder {
 public:
  Finder(TfLiteContext* context, const ClaimSettings& settings)
      : context_(context), settings_(settings) {}

  Claims Run() {
    if (!graph_.Read(context_)) return {};
    for (const Operator& op : graph_.operators()) {
      if (op.code() == kTfLiteBuiltinFullyConnected || op.code() == kTfLiteBuiltinConv2d) {
        ClaimLayer(op);
      }
    }
    if (graph_.disorder().empty()) {
      ClaimAround();
      ClaimFusions(context_, graph_, settings_, &claims_);
    }
    return std::move(claims_);
  }

 private:
  // ---- Layers

  void ClaimLayer(const Operator& op) {
    // Other layers, float ones above all, are none of ours and not worth a word.
    const TfLiteTensor* weights = op.node->inputs->size < 2 ? nullptr : graph_.Tensor(op.input(1));
    if (weights == nullptr || weights->type != kTfLiteInt8) return;
    Verdict verdict = {op.index, weights->name == nullptr ? "" : weights->name, false, ""};
    ClaimedNode claimed;
    verdict.is_claimed = Describe(op, *weights, &claimed, &verdict.reason);
    if (verdict.is_claimed) claims_.nodes[op.index] = std::move(claimed);
    claims_.verdicts.push_back(std::move(verdict));
  }

  // Fills `claimed` and, with what was decided, `reason`.
  bool Describe(const Operator& op, const TfLiteTensor& weights, ClaimedNode* claimed,
                std::string* reason) {
    if (!graph_.disorder().empty()) {
      *reason = graph_.disorder();
      return false;
    }
    const int inputs = op.node->inputs->size;
    const TfLiteTensor* input = graph_.Tensor(op.input(0));
    const TfLiteTensor* output = graph_.Tensor(op.output());
    if (inputs > 3 || input == nullptr || output == nullptr || op.node->builtin_data == nullptr) {
      *reason = "the operator is malformed";
      return false;
    }
    if (!IsFixed(*input) || !IsFixed(*output) || input->allocation_type == kTfLiteMmapRo) {
      *reason = "its input or output is of no fixed shape, or constant";
      return false;
    }
    LayerParameters parameters;
    int rows = 0;
    TfLiteFusedActivation activation;
    const bool fits = op.code() == kTfLiteBuiltinFullyConnected
                          ? FitsFullyConnected(op, *input, weights, &rows, claimed, &activation)
                          : FitsConvolution(op, *input, weights, &rows, claimed, &activation);
    const int64_t tokens = fits ? NumElements(input->dims) / claimed->columns : 0;
    if (!fits || rows > kMostColumns || claimed->columns > kMostColumns ||
        NumElements(output->dims) != tokens * rows ||
        output->dims->data[output->dims->size - 1] != rows) {
      *reason = "its shapes or parameters are not those of a layer over the last dimension";
      return false;
    }
    if (!Limits(activation, &parameters.minimum, &parameters.maximum)) {
      *reason = "its activation is not supported";
      return false;
    }
    if (!ReadArithmetic(op, *input, *output, &parameters)) {
      *reason = "its types or the quantization of its input or output are not supported";
      return false;
    }
    if (!ReadWeightScales(weights, rows, &parameters)) {
      *reason = "the quantization of its weights is not symmetric, by tensor or by output";
      return false;
    }
    const TfLiteTensor* bias =
        inputs == 3 && op.input(2) != kTfLiteOptionalTensor ? graph_.Tensor(op.input(2)) : nullptr;
    if (inputs == 3 && op.input(2) != kTfLiteOptionalTensor && bias == nullptr) {
      *reason = "the operator is malformed";
      return false;
    }
    if (!ReadBias(bias, rows, &parameters)) {
      *reason = "its bias is not constant, or of another type or size";
      return false;
    }

    const Operator* densify = graph_.Writer(op.input(1), kTfLiteBuiltinDensify);
    const TfLiteTensor* stored = densify == nullptr ? &weights : graph_.Tensor(densify->input(0));
    std::vector<int8_t> dense;
    if (stored == nullptr || !DenseValues(*stored, &dense, reason)) return false;
    if (dense.size() != static_cast<size_t>(rows) * claimed->columns) {
      *reason = "the stored weights are not of the shape that the layer reads";
      return false;
    }
    claimed->kind = NodeKind::kLayer;
    claimed->input = op.input(0);
    claimed->output = op.output();
    return Decide(dense, rows, static_cast<int>(tokens), std::move(parameters), claimed, reason);
  }

  bool Decide(const std::vector<int8_t>& dense, int rows, int tokens, LayerParameters parameters,
              ClaimedNode* claimed, std::string* reason) {
    const Kernels& kernels = *settings_.kernels;
    const LayerShape shape = {parameters.arithmetic, settings_.threads, rows, claimed->columns,
                              tokens};
    const double zeros =
        double(std::count(dense.begin(), dense.end(), 0)) / static_cast<double>(dense.size());
    char text[200];
    std::snprintf(text, sizeof(text), "%dx%d, zeros %.3f, tokens %d, ", rows, claimed->columns,
                  zeros, tokens);
    *reason = text;
    const bool is_worth_it = zeros >= kFewestZeros && tokens >= kFewestTokens &&
                             dense.size() * size_t(tokens) >= kFewestProducts;
    if (!settings_.is_forced && !is_worth_it) {
      *reason += "too few to gain anything";
      return false;
    }
    const Choice choice = ChooseForm(settings_.costs, settings_.limits, kernels, shape, dense.data());
    if (is_worth_it) NoteIfUnmeasured(shape);
    if (!settings_.is_forced && !choice.is_known) {
      *reason += "never measured here";
      return false;
    }
    std::snprintf(text, sizeof(text), "expected ratio %.2f, %s", choice.ratio,
                  choice.layout == Layout::kGroups ? "groups" : "columns");
    *reason += text;
    if (!settings_.is_forced && !(choice.ratio <= settings_.largest_ratio)) return false;
    PackedWeights packed = PackWeights(dense.data(), rows, claimed->columns, kernels, choice.layout,
                                       choice.tile_columns);
    claimed->layer =
        std::make_shared<const Layer>(kernels, std::move(packed), std::move(parameters));
    return true;
  }

  void NoteIfUnmeasured(const LayerShape& shape) {
    const auto& measured = settings_.costs.measured;
    std::vector<LayerShape>& unmeasured = claims_.unmeasured;
    if (std::none_of(measured.begin(), measured.end(),
                     [&](const MeasuredTimes& times) { return times.shape == shape; }) &&
        std::find(unmeasured.begin(), unmeasured.end(), shape) == unmeasured.end()) {
      unmeasured.push_back(shape);
    }
  }

  static bool FitsFullyConnected(const Operator& op, const TfLiteTensor& input,
                                 const TfLiteTensor& weights, int* rows, ClaimedNode* claimed,
                                 TfLiteFusedActivation* activation) {
    const auto& parameters =
        *static_cast<const TfLiteFullyConnectedParams*>(op.node->builtin_data);
    if (op.registration->version >= kUnknownFullyConnected || weights.dims == nullptr ||
        weights.dims->size != 2 ||
        parameters.weights_format != kTfLiteFullyConnectedWeightsFormatDefault) {
      return false;
    }
    *rows = weights.dims->data[0];
    claimed->columns = weights.dims->data[1];
    claimed->output_shape =
        parameters.keep_num_dims ? OutputShape::kLastDimension : OutputShape::kMatrix;
    *activation = parameters.activation;
    // Rows are quantized each for itself, so they must be rows of the input as well.
    return *rows > 0 && claimed->columns > 0 && input.dims->size > 0 &&
           input.dims->data[input.dims->size - 1] == claimed->columns;
  }

  static bool FitsConvolution(const Operator& op, const TfLiteTensor& input,
                              const TfLiteTensor& weights, int* rows, ClaimedNode* claimed,
                              TfLiteFusedActivation* activation) {
    const auto& parameters = *static_cast<const TfLiteConvParams*>(op.node->builtin_data);
    if (weights.dims == nullptr || weights.dims->size != 4 || input.dims->size != 4 ||
        parameters.padding != kTfLitePaddingValid || parameters.stride_height != 1 ||
        parameters.stride_width != 1 || parameters.dilation_height_factor != 1 ||
        parameters.dilation_width_factor != 1) {
      return false;
    }
    // [N, 1, W, C] over [B, T, W, C]: the window is one row of the image.
    const int* window = weights.dims->data;
    if (window[1] != 1 || window[2] != input.dims->data[2] || window[3] != input.dims->data[3] ||
        window[0] < 1 || int64_t{window[2]} * window[3] > kMostColumns) {
      return false;
    }
    *rows = window[0];
    claimed->columns = window[2] * window[3];
    claimed->output_shape = OutputShape::kColumn;
    *activation = parameters.activation;
    return true;
  }

  static bool ReadArithmetic(const Operator& op, const TfLiteTensor& input,
                             const TfLiteTensor& output, LayerParameters* parameters) {
    if (input.type == kTfLiteFloat32 && output.type == kTfLiteFloat32 &&
        op.code() == kTfLiteBuiltinFullyConnected) {
      parameters->arithmetic = Arithmetic::kDynamic;
      return true;
    }
    if (input.type != kTfLiteInt8 || output.type != kTfLiteInt8) return false;
    parameters->arithmetic = Arithmetic::kStatic;
    return TensorQuantization(input, &parameters->input_scale, &parameters->input_zero_point) &&
           TensorQuantization(output, &parameters->output_scale, &parameters->output_zero_point);
  }

  static bool ReadWeightScales(const TfLiteTensor& weights, int rows, LayerParameters* parameters) {
    const TfLiteAffineQuantization* affine = Affine(weights);
    if (affine == nullptr) return false;
    const int count = affine->scale->size;
    if (count != 1 && (count != rows || affine->quantized_dimension != 0)) return false;
    for (int n = 0; n < rows; ++n) {
      const float scale = affine->scale->data[count == 1 ? 0 : n];
      const int zero_point = affine->zero_point->data[affine->zero_point->size == 1 ? 0 : n];
      if (!IsScale(scale) || zero_point != 0) return false;
      parameters->weight_scales.push_back(scale);
    }
    return true;
  }

  static bool ReadBias(const TfLiteTensor* bias, int rows, LayerParameters* parameters) {
    const bool is_static = parameters->arithmetic == Arithmetic::kStatic;
    if (bias == nullptr) {
      if (is_static) {
        parameters->integer_bias.assign(rows, 0);
      } else {
        parameters->float_bias.assign(rows, 0);
      }
      return true;
    }
    if (bias->allocation_type != kTfLiteMmapRo || bias->data.data == nullptr ||
        NumElements(bias->dims) != rows || bias->bytes != size_t{4} * rows ||
        bias->sparsity != nullptr || bias->type != (is_static ? kTfLiteInt32 : kTfLiteFloat32)) {
      return false;
    }
    if (is_static) {
      parameters->integer_bias.resize(rows);
      std::memcpy(parameters->integer_bias.data(), bias->data.data, bias->bytes);
    } else {
      parameters->float_bias.resize(rows);
      std::memcpy(parameters->float_bias.data(), bias->data.data, bias->bytes);
    }
    return true;
  }

  // ---- What stands around a convolution

  void ClaimAround() {
    for (const Operator& op : graph_.operators()) {
      if (op.node->inputs->size < 1) continue;
      if (op.code() == kTfLiteBuiltinDensify && AllReadersAreLayers(op.output())) {
        claims_.nodes[op.index] = {NodeKind::kDensify, op.input(0), op.output(), 0, {}, nullptr, nullptr};
      } else if (op.code() == kTfLiteBuiltinReshape && IsPlainReshape(op) &&
                 (AllReadersAreLayers(op.output()) || WriterIsLayer(op.input(0)))) {
        claims_.nodes[op.index] = {NodeKind::kReshape, op.input(0), op.output(), 0, {}, nullptr, nullptr};
      }
    }
  }

  bool IsConvolutionOfOurs(int node) const {
    const auto found = claims_.nodes.find(node);
    return found != claims_.nodes.end() && found->second.kind == NodeKind::kLayer &&
           found->second.output_shape == OutputShape::kColumn;
  }

  bool AllReadersAreLayers(int tensor) const {
    const std::vector<int>& readers = graph_.Readers(tensor);
    return !readers.empty() &&
           std::all_of(readers.begin(), readers.end(), [this](int node) {
             const auto found = claims_.nodes.find(node);
             return found != claims_.nodes.end() && found->second.kind == NodeKind::kLayer;
           });
  }

  bool WriterIsLayer(int tensor) const {
    const Operator* writer = graph_.Writer(tensor, kTfLiteBuiltinConv2d);
    return writer != nullptr && IsConvolutionOfOurs(writer->index);
  }

  bool IsPlainReshape(const Operator& op) const {
    const TfLiteTensor* input = graph_.Tensor(op.input(0));
    const TfLiteTensor* output = graph_.Tensor(op.output());
    if (input == nullptr || output == nullptr || !IsFixed(*input) || !IsFixed(*output) ||
        input->type != kTfLiteInt8 || output->type != kTfLiteInt8 ||
        input->allocation_type == kTfLiteMmapRo ||
        NumElements(input->dims) != NumElements(output->dims)) {
      return false;
    }
    for (int i = 1; i < op.node->inputs->size; ++i) {
      const TfLiteTensor* shape = graph_.Tensor(op.input(i));
      if (shape == nullptr || !IsShapeOf(*shape, *output)) return false;
    }
    return true;
  }

  TfLiteContext* context_;
  const ClaimSettings& settings_;
  Graph graph_;
  Claims claims_;
};

}  // namespace

Claims FindClaims(TfLiteContext* context, const ClaimSettings& settings) {
  return Finder(context, settings).Run();
}

}  // namespace tf_prune_ofa
