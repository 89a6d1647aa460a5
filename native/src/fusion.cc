#include "fusion.h"

#include <algorithm>
#include <cmath>

#include "fusion_chain.h"

namespace tf_prune_ofa {

namespace {

// XNNPACK's fraction of polynomials for GELU, so that a table's entries are its results to the bit.
struct Gelu {
  float most;            // beyond it, the error function counts as 1
  float numerator[6];    // of x^11, x^9 ... x
  float denominator[6];  // of x^10, x^8 ... 1

  float operator()(float x) const {
    const float held = std::max(-most, std::min(most, x));
    const float square = held * held;
    float p = numerator[0], q = denominator[0];
    for (int i = 1; i < 6; ++i) {
      p = std::fma(square, p, numerator[i]);
      q = std::fma(square, q, denominator[i]);
    }
    return x * 0.5f * (held * p / q + 1.0f);
  }
};

constexpr Gelu kGelu = {
    5.1638283730e+00f,
    {4.5835321316e-08f, 1.2609783880e-05f, 3.2973114867e-04f, 9.3065137044e-03f,
     6.6972173750e-02f, 7.9788452387e-01f},
    {1.1988805682e-06f, 7.2267655923e-05f, 1.8622842617e-03f, 2.8431978077e-02f,
     2.5060352683e-01f, 1.0f}};

constexpr Gelu kApproximateGelu = {
    4.84974098e+00f,
    {4.9544411240e-08f, 1.4302649106e-05f, 2.6887017884e-04f, 7.2898347862e-03f,
     6.0803253204e-02f, 7.9788458347e-01f},
    {1.3433452750e-06f, 7.6477612311e-05f, 1.3060354395e-03f, 2.4381054565e-02f,
     2.4369759858e-01f, 1.0f}};

}  // namespace

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
    const float y = (is_approximate ? kApproximateGelu : kGelu)(x) * multiplier;
    const float q = std::nearbyintf(std::min(std::max(y, -512.0f), 512.0f));
    table->entries[i] = static_cast<int8_t>(
        std::min(std::max(static_cast<int>(q) + out_zero, -128), 127));
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
