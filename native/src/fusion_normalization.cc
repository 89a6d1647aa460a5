#include <vector>

#include "fusion_chain.h"

namespace tf_prune_ofa {
namespace {

// Whether MEAN is over the last dimension, which it keeps.
void RequireMean(Chain* chain, const Operator* mean, int dimensions) {
  chain->Require(mean != nullptr && mean->inputs() == 2 && mean->node->builtin_data != nullptr &&
                 static_cast<const TfLiteReducerParams*>(mean->node->builtin_data)->keep_dims);
  if (chain->is_sound()) chain->RequireInts(mean->input(1), {dimensions - 1});
}

// What is normalized: one tensor, or the sum of two, of which one may be INT8.
void FindSum(const Graph& graph, int x, int64_t count, int columns, Chain* chain,
             Normalization* found) {
  const Operator* add = graph.Writer(x, kTfLiteBuiltinAdd);
  if (add == nullptr) return;
  chain->RequirePlain(add);
  if (!chain->is_sound()) return;
  const auto is_whole = [&](int tensor) {
    const TfLiteTensor* t = graph.Tensor(tensor);
    return t != nullptr && t->type == kTfLiteFloat32 && IsFixed(*t) && !IsConstant(*t) &&
           NumElements(t->dims) == count && t->dims->data[t->dims->size - 1] == columns;
  };
  if (!is_whole(add->input(0)) || !is_whole(add->input(1))) return;
  // One has the sum's shape, the other perhaps fewer dimensions.
  if (!HaveSameShape(*graph.Tensor(add->input(0)), *graph.Tensor(x)) &&
      !HaveSameShape(*graph.Tensor(add->input(1)), *graph.Tensor(x))) {
    return;
  }
  chain->Back(x, kTfLiteBuiltinAdd, 3);
  found->a = add->input(0);
  found->b = add->input(1);
  for (const int side : {1, 0}) {
    const int tensor = add->input(side);
    const Operator* dequantize = graph.Writer(tensor, kTfLiteBuiltinDequantize);
    const TfLiteTensor* stored =
        dequantize == nullptr ? nullptr : graph.Tensor(dequantize->input(0));
    if (stored == nullptr || stored->type != kTfLiteInt8 || IsConstant(*stored) ||
        !IsFixed(*stored) || NumElements(stored->dims) != count || add->input(0) == add->input(1) ||
        graph.Readers(tensor).size() != 1 ||
        !TensorQuantization(*stored, &found->parameters.b_scale, &found->parameters.b_zero)) {
      continue;
    }
    chain->Back(tensor, kTfLiteBuiltinDequantize);
    found->has_bytes = true;
    found->a = add->input(1 - side);
    found->b = dequantize->input(0);
    return;
  }
}

}  // namespace

bool MatchNormalization(const Graph& graph, const EncoderKernels& kernels, const Operator& root,
                        Fusion* fusion) {
  Chain chain(graph);
  chain.Require(root.inputs() == 1);
  if (!chain.is_sound()) return false;
  chain.Pass(root);
  auto found = std::make_shared<Normalization>();
  found->parameters = {};
  const Operator* add_epsilon = chain.Back(root.input(0), kTfLiteBuiltinAdd);
  chain.RequirePlain(add_epsilon);
  if (!chain.is_sound()) return false;
  const float* epsilon = chain.Floats(add_epsilon->input(1), 1);
  const Operator* variance = chain.Back(add_epsilon->input(0), kTfLiteBuiltinMean);
  const Operator* squares = variance == nullptr
                                ? nullptr
                                : chain.Back(variance->input(0), kTfLiteBuiltinSquaredDifference);
  chain.Require(squares != nullptr && squares->inputs() == 2);
  const Operator* scale = chain.On(&root, kTfLiteBuiltinMul);
  chain.RequirePlain(scale);
  if (!chain.is_sound()) return false;
  const int x = squares->input(0);
  chain.Require(scale->input(1) == root.output());
  const Operator* centred = chain.Back(scale->input(0), kTfLiteBuiltinSub);
  chain.RequirePlain(centred);
  if (!chain.is_sound()) return false;
  const Operator* mean = chain.Back(squares->input(1), kTfLiteBuiltinMean, 2);
  const TfLiteTensor* input = chain.Fixed(x, kTfLiteFloat32);
  chain.Require(mean != nullptr && input != nullptr && mean->input(0) == x &&
                centred->input(0) == x && centred->input(1) == squares->input(1) &&
                input->dims->size >= 2);
  if (!chain.is_sound()) return false;
  RequireMean(&chain, mean, input->dims->size);
  RequireMean(&chain, variance, input->dims->size);

  const int columns = input->dims->data[input->dims->size - 1];
  const int64_t count = NumElements(input->dims);
  chain.Require(kernels.can_normalize(columns) && count / columns <= (1 << 20));
  const Operator* multiply = chain.On(scale, kTfLiteBuiltinMul);
  chain.RequirePlain(multiply);
  const Operator* shift = chain.On(multiply, kTfLiteBuiltinAdd);
  chain.RequirePlain(shift);
  if (!chain.is_sound()) return false;
  chain.Require(multiply->input(0) == scale->output() && shift->input(0) == multiply->output());
  const float* gamma = chain.Floats(multiply->input(1), columns);
  const float* beta = chain.Floats(shift->input(1), columns);
  const TfLiteTensor* output = chain.Fixed(shift->output(), kTfLiteFloat32);
  chain.Require(output != nullptr && HaveSameShape(*output, *input));
  if (!chain.is_sound()) return false;
  // Nobody else may read what is normalized, where it is a sum that is never written.
  found->a = x;
  found->b = -1;
  if (graph.Readers(x).size() == 3) FindSum(graph, x, count, columns, &chain, found.get());
  if (!chain.is_sound()) return false;

  found->gamma.assign(gamma, gamma + columns);
  found->beta.assign(beta, beta + columns);
  found->output = shift->output();
  found->output_bytes = -1;
  NormalizeArgs& p = found->parameters;
  p.epsilon = *epsilon;
  p.columns = columns;
  p.tokens = static_cast<int>(count / columns);
  p.out_multiplier = 1;
  for (const int reader : graph.Readers(found->output)) {
    const Operator* quantize = graph.AtNode(reader);
    float out_scale;
    if (quantize == nullptr || quantize->code() != kTfLiteBuiltinQuantize) continue;
    const TfLiteTensor* bytes = graph.Tensor(quantize->output());
    if (bytes == nullptr || bytes->type != kTfLiteInt8 || !IsFixed(*bytes) ||
        !HaveSameShape(*bytes, *input) || !TensorQuantization(*bytes, &out_scale, &p.out_zero)) {
      continue;
    }
    p.out_multiplier = 1.0f / out_scale;
    found->output_bytes = quantize->output();
    chain.Pass(*quantize);
    break;
  }
  fusion->runs_at = shift->index;
  if (found->has_bytes) {
    fusion->needs_writer = {found->b};
  } else {
    // Without a layer of ours on either side nothing is gained.
    chain.Require(found->output_bytes >= 0);
    fusion->needs_readers = {found->output_bytes};
  }
  if (!chain.is_sound()) return false;
  fusion->normalization = std::move(found);
  chain.Finish(fusion);
  return true;
}

}  // namespace tf_prune_ofa
