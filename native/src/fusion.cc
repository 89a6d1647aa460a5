#include "fusion.h"

#include <algorithm>
#include <cmath>

#include "fusion_chain.h"

namespace tf_prune_ofa {

// As XNNPACK fills a table: GELU in double, the rest in float.
bool MatchTable(const Graph& graph, const Operator& gelu, Fusion* fusion) {
  Chain chain(graph);
  chain.Require(gelu.inputs() == 1 && gelu.node->builtin_data != nullptr);
  if (!chain.is_sound()) return false;
  chain.Pass(gelu);
  const bool is_approximate =
      static_cast<const TfLiteGeluParams*>(gelu.node->builtin_data)->approximate;
  const Operator* dequantize = chain.Back(gelu.input(0), kTfLiteBuiltinDequantize);
  const Operator* quantize = chain.On(&gelu, kTfLiteBuiltinQuantize);
  if (!chain.is_sound()) return false;
  auto table = std::make_shared<Table>();
  float in_scale, out_scale;
  int32_t in_zero, out_zero;
  const TfLiteTensor* in = chain.Bytes(dequantize->input(0), &in_scale, &in_zero);
  const TfLiteTensor* out = chain.Bytes(quantize->output(), &out_scale, &out_zero);
  chain.Require(in != nullptr && out != nullptr && HaveSameShape(*in, *out));
  if (!chain.is_sound()) return false;
  table->input = dequantize->input(0);
  table->output = quantize->output();
  table->count = NumElements(in->dims);
  const float multiplier = 1.0f / out_scale;
  for (int i = 0; i < 256; ++i) {
    const float x = static_cast<float>(i - 128 - in_zero) * in_scale;
    const double factor =
        is_approximate ? 1 + std::tanh(std::sqrt(2.0 / M_PI) * x * (1 + 0.044715 * x * x))
                       : 1 + std::erf(x * std::sqrt(2.0) / 2);
    const float y = static_cast<float>(x / 2 * factor) * multiplier + static_cast<float>(out_zero);
    table->entries[i] =
        static_cast<int8_t>(std::nearbyintf(std::min(std::max(y, -128.0f), 127.0f)));
  }
  fusion->needs_writer = {table->input};
  fusion->needs_readers = {table->output};
  fusion->runs_at = quantize->index;
  fusion->table = std::move(table);
  chain.Finish(fusion);
  return true;
}

std::vector<FusionTensor> Reads(const Fusion& fusion) {
  if (fusion.table != nullptr) return {{fusion.table->input, fusion.table->count, false}};
  if (fusion.attention != nullptr) {
    const Attention& a = *fusion.attention;
    const int64_t count = int64_t{a.tokens} * a.heads * a.dim;
    return {{a.queries, count, false},
            {a.keys, count, false},
            {a.values, count, false},
            {a.mask, a.tokens, true}};
  }
  const Normalization& n = *fusion.normalization;
  const int64_t count = int64_t{n.parameters.tokens} * n.parameters.columns;
  if (n.b < 0) return {{n.a, count, true}};
  return {{n.a, count, true}, {n.b, count, !n.has_bytes}};
}

std::vector<FusionTensor> Writes(const Fusion& fusion) {
  if (fusion.table != nullptr) return {{fusion.table->output, fusion.table->count, false}};
  if (fusion.attention != nullptr) {
    const Attention& a = *fusion.attention;
    return {{a.output, int64_t{a.tokens} * a.heads * a.dim, false}};
  }
  const Normalization& n = *fusion.normalization;
  const int64_t count = int64_t{n.parameters.tokens} * n.parameters.columns;
  if (n.output_bytes < 0) return {{n.output, count, true}};
  return {{n.output, count, true}, {n.output_bytes, count, false}};
}

std::vector<Fusion> FindFusions(const Graph& graph, const EncoderKernels& kernels) {
  std::vector<Fusion> found;
  for (const Operator& op : graph.operators()) {
    Fusion fusion;
    const bool is_match =
        (op.code() == kTfLiteBuiltinSoftmax && MatchAttention(graph, kernels, op, &fusion)) ||
        (op.code() == kTfLiteBuiltinRsqrt && MatchNormalization(graph, kernels, op, &fusion)) ||
        (op.code() == kTfLiteBuiltinGelu && MatchTable(graph, op, &fusion));
    if (is_match) found.push_back(std::move(fusion));
  }
  return found;
}

}  // namespace tf_prune_ofa
