#include <vector>

#include "fusion_chain.h"

namespace tf_prune_ofa {
namespace {

bool HasShape(const TfLiteTensor& tensor, const std::vector<int>& shape) {
  return tensor.dims->size == static_cast<int>(shape.size()) &&
         std::equal(shape.begin(), shape.end(), tensor.dims->data);
}

// Whether a BATCH_MATMUL multiplies by the transposed second operand.
bool IsTransposedProduct(const Operator& product) {
  const auto* parameters = static_cast<const TfLiteBatchMatMulParams*>(product.node->builtin_data);
  return product.inputs() == 2 && parameters != nullptr && !parameters->adj_x && parameters->adj_y;
}

void RequireReshape(Chain* chain, const Graph& graph, const Operator& reshape) {
  const TfLiteTensor* shape = reshape.inputs() == 2 ? graph.Tensor(reshape.input(1)) : nullptr;
  const TfLiteTensor* output = graph.Tensor(reshape.output());
  chain->Require(shape != nullptr && output != nullptr && IsShapeOf(*shape, *output));
}

// The [tokens][heads * dim] behind an operand, which a RESHAPE and a TRANSPOSE made of it.
int Operand(Chain* chain, const Graph& graph, int tensor, const Attention& attention,
            const std::vector<int>& permutation) {
  const Operator* transpose = chain->Back(tensor, kTfLiteBuiltinTranspose);
  chain->Require(transpose != nullptr && transpose->inputs() == 2);
  if (!chain->is_sound()) return -1;
  chain->RequireInts(transpose->input(1), permutation);
  const Operator* reshape = chain->Back(transpose->input(0), kTfLiteBuiltinReshape);
  if (!chain->is_sound()) return -1;
  const TfLiteTensor* split = chain->Fixed(transpose->input(0), kTfLiteInt8);
  chain->Require(split != nullptr &&
                 HasShape(*split, {1, attention.tokens, attention.heads, attention.dim}));
  const TfLiteTensor* whole = chain->Fixed(reshape->input(0), kTfLiteInt8);
  chain->Require(whole != nullptr && NumElements(whole->dims) == NumElements(split->dims));
  RequireReshape(chain, graph, *reshape);
  return reshape->input(0);
}

}  // namespace

bool MatchAttention(const Graph& graph, const EncoderKernels& kernels, const Operator& softmax,
                    Fusion* fusion) {
  Chain chain(graph);
  chain.Require(
      softmax.inputs() == 1 && softmax.node->builtin_data != nullptr &&
      static_cast<const TfLiteSoftmaxParams*>(softmax.node->builtin_data)->beta == 1);
  if (!chain.is_sound()) return false;
  chain.Pass(softmax);
  const Operator* add = chain.Back(softmax.input(0), kTfLiteBuiltinAdd);
  chain.RequirePlain(add);
  if (!chain.is_sound()) return false;
  const Operator* dequantize = chain.Back(add->input(0), kTfLiteBuiltinDequantize);
  const Operator* scoring =
      dequantize == nullptr ? nullptr : chain.Back(dequantize->input(0), kTfLiteBuiltinBatchMatmul);
  const Operator* quantize = chain.On(&softmax, kTfLiteBuiltinQuantize);
  const Operator* mixing = chain.On(quantize, kTfLiteBuiltinBatchMatmul);
  const Operator* transpose = chain.On(mixing, kTfLiteBuiltinTranspose);
  const Operator* reshape = chain.On(transpose, kTfLiteBuiltinReshape);
  chain.Require(scoring != nullptr);
  if (!chain.is_sound()) return false;
  chain.Require(IsTransposedProduct(*scoring) && IsTransposedProduct(*mixing) &&
                mixing->input(0) == quantize->output() && transpose->inputs() == 2);

  auto attention = std::make_shared<Attention>();
  AttendArgs& q = attention->quantization;
  q = {};
  float query_scale, key_scale, probability_scale, value_scale, out_scale;
  int32_t key_zero, probability_zero, value_zero;
  const TfLiteTensor* queries = chain.Bytes(scoring->input(0), &query_scale, &q.query_zero);
  const TfLiteTensor* keys = chain.Bytes(scoring->input(1), &key_scale, &key_zero);
  const TfLiteTensor* scores = chain.Bytes(scoring->output(), &q.score_step, &q.score_zero);
  chain.Bytes(mixing->input(0), &probability_scale, &probability_zero);
  const TfLiteTensor* values = chain.Bytes(mixing->input(1), &value_scale, &value_zero);
  const TfLiteTensor* mixed = chain.Bytes(mixing->output(), &out_scale, &q.out_zero);
  chain.Require(queries != nullptr && queries->dims->size == 4 && mixed != nullptr);
  if (!chain.is_sound()) return false;
  const int heads = queries->dims->data[1], tokens = queries->dims->data[2],
            dim = queries->dims->data[3];
  attention->heads = heads;
  attention->tokens = q.length = tokens;
  attention->dim = q.dim = dim;
  // Larger sums than int32 holds, or offsets.
  chain.Require(kernels.can_attend(dim) && tokens <= (1 << 14) && heads <= (1 << 10) &&
                key_zero == 0 && value_zero == 0 && probability_zero == -128);
  chain.Require(HasShape(*queries, {1, heads, tokens, dim}) &&
                HasShape(*keys, {1, heads, tokens, dim}) &&
                HasShape(*scores, {1, heads, tokens, tokens}) &&
                HasShape(*values, {1, heads, dim, tokens}) &&
                HasShape(*mixed, {1, heads, tokens, dim}));
  const TfLiteTensor* mask = chain.Fixed(add->input(1), kTfLiteFloat32);
  chain.Require(mask != nullptr && NumElements(mask->dims) == tokens && mask->dims->size <= 4 &&
                mask->dims->data[mask->dims->size - 1] == tokens);
  const TfLiteTensor* out = chain.Fixed(reshape->output(), kTfLiteInt8);
  chain.Require(out != nullptr && NumElements(out->dims) == NumElements(queries->dims));
  chain.RequireInts(transpose->input(1), {0, 2, 1, 3});
  RequireReshape(&chain, graph, *reshape);
  attention->queries = Operand(&chain, graph, scoring->input(0), *attention, {0, 2, 1, 3});
  attention->keys = Operand(&chain, graph, scoring->input(1), *attention, {0, 2, 1, 3});
  attention->values = Operand(&chain, graph, mixing->input(1), *attention, {0, 2, 3, 1});
  if (!chain.is_sound()) return false;
  attention->mask = add->input(1);
  attention->output = reshape->output();
  q.score_scale = query_scale * key_scale / q.score_step;
  q.probability_multiplier = 1.0f / probability_scale;
  q.out_scale = probability_scale * value_scale / out_scale;
  fusion->needs_writer = {attention->queries, attention->keys, attention->values};
  fusion->needs_readers = {attention->output};
  fusion->runs_at = reshape->index;
  fusion->attention = std::move(attention);
  chain.Finish(fusion);
  return true;
}

}  // namespace tf_prune_ofa
