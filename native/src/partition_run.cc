// How a partition runs.
#include <algorithm>
#include <cstring>
#include <limits>

#include "partition.h"

namespace tf_prune_ofa {
namespace {

// Below it XNNPACK's exp is 0, with a margin for rounding.
constexpr float kExpIsZero = -90.0f;
// Tokens that a thread normalizes at a time, and numbers that it looks up.
constexpr int kTokensAtATime = 8;
constexpr int64_t kNumbersAtATime = 16 << 10;

int64_t Product(const std::vector<int>& shape) {
  int64_t product = 1;
  for (const int length : shape) product *= length;
  return product;
}

int Items(int64_t count, int64_t at_a_time) {
  return static_cast<int>((count + at_a_time - 1) / at_a_time);
}

}  // namespace

int Partition::LiveTokens(TfLiteContext* context) const {
  if (mask_ < 0) return std::numeric_limits<int>::max();
  const auto* mask = static_cast<const float*>(Data(context, mask_, sizeof(float) * mask_tokens_));
  if (mask == nullptr) return std::numeric_limits<int>::max();
  const float largest = *std::max_element(mask, mask + mask_tokens_);
  // Scores differ by 255 steps at most, whatever a token's is.
  const float least = largest - 255 * largest_step_ + kExpIsZero;
  int live = mask_tokens_;
  while (live > 1 && mask[live - 1] < least) --live;
  return live;
}

TfLiteStatus Partition::RunLayer(TfLiteContext* context, const ClaimedNode& node, int live,
                                 std::pair<int, int>* packed) {
  const Layer& layer = *node.layer;
  const int64_t numbers = Product(shapes_.at(node.input));
  const int all = static_cast<int>(numbers / node.columns);
  const int tokens = std::min(all, live);
  const size_t number_bytes = layer.arithmetic() == Arithmetic::kDynamic ? 4 : 1;
  const void* input = Data(context, node.input, numbers * number_bytes);
  void* output =
      Data(context, node.output, static_cast<size_t>(all) * layer.rows() * number_bytes);
  if (input == nullptr || output == nullptr) {
    context->ReportError(context, "tf_prune_ofa: tensor %d or %d has too little memory.",
                         node.input, node.output);
    return kTfLiteError;
  }
  const int layout = static_cast<int>(layer.layout());
  PackedActivations& activations = workspace_->activations[layout];
  const std::pair<int, int> rows = {Root(node.input), node.columns};
  if (packed[layout] != rows) {
    packed[layout] = rows;
    if (layer.arithmetic() == Arithmetic::kDynamic) {
      activations.PackDynamic(workspace_->kernels, layer.layout(),
                              static_cast<const float*>(input), tokens, node.columns,
                              &workspace_->pool);
    } else {
      activations.PackStatic(workspace_->kernels, layer.layout(),
                             static_cast<const int8_t*>(input), tokens, node.columns,
                             &workspace_->pool);
    }
  }
  layer.Run(activations, output, workspace_->sums, &workspace_->pool);
  return kTfLiteOk;
}

void Partition::RunAttention(const Attention& attention, const int8_t* const* inputs,
                             const float* mask, int8_t* out, int live) {
  const int tokens = std::min(attention.tokens, live);
  auto* padded = reinterpret_cast<float*>(workspace_->mask.get());
  std::copy(mask, mask + tokens, padded);
  std::fill(padded + tokens, padded + (tokens + 63) / 64 * 64,
            -std::numeric_limits<float>::infinity());
  workspace_->pool.ForEach(attention.heads, [&](int thread, int head) {
    const ptrdiff_t place = ptrdiff_t{head} * attention.dim;
    AttendArgs args = attention.quantization;
    args.queries = inputs[0] + place;
    args.keys = inputs[1] + place;
    args.values = inputs[2] + place;
    args.stride = ptrdiff_t{attention.heads} * attention.dim;
    args.out = out + place;
    args.tokens = tokens;
    args.mask = padded;
    args.scratch = workspace_->scratch[thread].get();
    workspace_->kernels.encoder->attend(args);
  });
}

void Partition::RunNormalization(const NormalizeArgs& all, int live) {
  const int tokens = std::min(all.tokens, live);
  workspace_->pool.ForEach(Items(tokens, kTokensAtATime), [&](int, int item) {
    const int begin = item * kTokensAtATime;
    const ptrdiff_t place = ptrdiff_t{begin} * all.columns;
    NormalizeArgs args = all;
    args.tokens = std::min(kTokensAtATime, tokens - begin);
    args.a += place;
    if (args.b != nullptr) args.b += place;
    if (args.b_bytes != nullptr) args.b_bytes += place;
    if (args.out != nullptr) args.out += place;
    if (args.out_bytes != nullptr) args.out_bytes += place;
    workspace_->kernels.encoder->normalize(args);
  });
}

TfLiteStatus Partition::RunFusion(TfLiteContext* context, const Fusion& fusion, int live) {
  std::vector<void*> data;
  for (const auto& tensors : {Reads(fusion), Writes(fusion)}) {
    for (const FusionTensor& tensor : tensors) {
      data.push_back(Data(context, tensor.tensor, tensor.count * (tensor.is_float ? 4 : 1)));
      if (data.back() != nullptr) continue;
      context->ReportError(context, "tf_prune_ofa: tensor %d has too little memory.",
                           tensor.tensor);
      return kTfLiteError;
    }
  }
  if (fusion.attention != nullptr) {
    const int8_t* inputs[3];
    for (int i = 0; i < 3; ++i) inputs[i] = static_cast<const int8_t*>(data[i]);
    RunAttention(*fusion.attention, inputs, static_cast<const float*>(data[3]),
                 static_cast<int8_t*>(data[4]), live);
  } else if (fusion.normalization != nullptr) {
    const Normalization& found = *fusion.normalization;
    NormalizeArgs args = found.parameters;
    args.gamma = found.gamma.data();
    args.beta = found.beta.data();
    size_t i = 0;
    args.a = static_cast<const float*>(data[i++]);
    if (found.b >= 0 && found.has_bytes) args.b_bytes = static_cast<const int8_t*>(data[i++]);
    if (found.b >= 0 && !found.has_bytes) args.b = static_cast<const float*>(data[i++]);
    args.out = static_cast<float*>(data[i++]);
    if (found.output_bytes >= 0) args.out_bytes = static_cast<int8_t*>(data[i]);
    RunNormalization(args, live);
  } else {
    const Table& table = *fusion.table;
    const auto* in = static_cast<const int8_t*>(data[0]);
    auto* out = static_cast<int8_t*>(data[1]);
    const int64_t count =
        live >= mask_tokens_ || mask_ < 0 ? table.count : table.count / mask_tokens_ * live;
    workspace_->pool.ForEach(Items(count, kNumbersAtATime), [&](int, int item) {
      const int64_t begin = item * kNumbersAtATime;
      workspace_->kernels.encoder->look_up(table.entries.data(), in + begin,
                                           std::min(kNumbersAtATime, count - begin), out + begin);
    });
  }
  return kTfLiteOk;
}

// Behind the live tokens, and what is a copy.
TfLiteStatus Partition::FillOutputs(TfLiteContext* context, int live) {
  for (const auto& [copy, original] : copies_) {
    const TfLiteTensor& to = context->tensors[copy];
    const void* from = Data(context, original, to.bytes);
    if (to.data.data == nullptr || from == nullptr) return kTfLiteError;
    std::memcpy(to.data.data, from, to.bytes);
  }
  if (mask_ < 0 || live >= mask_tokens_) return kTfLiteOk;
  for (const int output : outputs_) {
    const TfLiteTensor& to = context->tensors[output];
    if (shapes_.count(output) == 0 || to.data.data == nullptr) continue;
    const size_t live_bytes = to.bytes / mask_tokens_ * live;
    std::memset(static_cast<char*>(to.data.data) + live_bytes, 0, to.bytes - live_bytes);
  }
  return kTfLiteOk;
}

TfLiteStatus Partition::Invoke(TfLiteContext* context) {
  std::lock_guard<std::mutex> lock(workspace_->mutex);
  const int live = LiveTokens(context);
  // By layout: what is packed. A RESHAPE may have made longer or shorter rows of the same tensor.
  std::pair<int, int> packed[2] = {{-1, 0}, {-1, 0}};
  for (const ClaimedNode& node : nodes_) {
    TfLiteStatus status = kTfLiteOk;
    if (node.kind == NodeKind::kLayer) status = RunLayer(context, node, live, packed);
    if (node.kind == NodeKind::kFusion) status = RunFusion(context, *node.fusion, live);
    if (status != kTfLiteOk) return status;
  }
  return FillOutputs(context, live);
}

}  // namespace tf_prune_ofa
