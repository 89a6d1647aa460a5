#include "partition.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

#include "sparse_tensor.h"

namespace tf_prune_ofa {
namespace {

int64_t Product(const std::vector<int>& shape) {
  int64_t product = 1;
  for (const int length : shape) product *= length;
  return product;
}

size_t BytesOf(Arithmetic arithmetic) { return arithmetic == Arithmetic::kDynamic ? 4 : 1; }

// Tensors that a node reads and writes.
std::vector<int> Inputs(const ClaimedNode& node) {
  if (node.kind != NodeKind::kFusion) return {node.input};
  std::vector<int> inputs;
  for (const FusionTensor& tensor : Reads(*node.fusion)) inputs.push_back(tensor.tensor);
  return inputs;
}

// And how many bytes.
std::vector<std::pair<int, size_t>> Outputs(const ClaimedNode& node, int64_t layer_numbers) {
  if (node.kind == NodeKind::kLayer) {
    return {{node.output, layer_numbers * BytesOf(node.layer->arithmetic())}};
  }
  std::vector<std::pair<int, size_t>> outputs;
  if (node.kind != NodeKind::kFusion) return outputs;
  for (const FusionTensor& tensor : Writes(*node.fusion)) {
    outputs.emplace_back(tensor.tensor, tensor.count * (tensor.is_float ? 4 : 1));
  }
  return outputs;
}

}  // namespace

Partition::Partition(std::vector<ClaimedNode> nodes, const TfLiteIntArray& outputs,
                     bool leaves_out_masked, Workspace* workspace)
    : outputs_(outputs.data, outputs.data + outputs.size),
      leaves_out_masked_(leaves_out_masked),
      workspace_(workspace) {
  for (ClaimedNode& node : nodes) {
    if (node.kind == NodeKind::kDensify || node.kind == NodeKind::kInside) continue;
    nodes_.push_back(std::move(node));
  }
  ShareMemory();
}

int Partition::Root(int tensor) const {
  for (auto next = same_as_.find(tensor); next != same_as_.end(); next = same_as_.find(tensor)) {
    tensor = next->second;
  }
  return tensor;
}

// Tensors joined by RESHAPEs are one piece of memory: the host's input if they begin with one, else
// the host's output if one of them is seen outside, else our own.
void Partition::ShareMemory() {
  std::set<int> written;
  for (const ClaimedNode& node : nodes_) {
    for (const auto& [tensor, bytes] : Outputs(node, 0)) written.insert(tensor);
    // Never a circle: Root would not come back.
    if (node.kind == NodeKind::kReshape && Root(node.input) != node.output) {
      same_as_.emplace(node.output, node.input);
    }
  }
  std::map<int, int> home;  // of a written root: the output where its numbers go
  for (const int output : outputs_) {
    const int root = Root(output);
    if (output == root || (written.count(root) == 0)) continue;
    if (std::find(outputs_.begin(), outputs_.end(), root) == outputs_.end()) {
      home.emplace(root, output);
    }
  }
  for (const auto& [root, output] : home) {
    // Turn the chain round: everything leads to that output now.
    same_as_.erase(output);
    same_as_[root] = output;
    for (auto& [tensor, next] : same_as_) {
      if (tensor != root && next == root) next = output;
    }
  }
  // A RESHAPE of a RESHAPE may still lead through what was turned; Root follows it all the same.
  for (const int output : outputs_) {
    if (same_as_.count(output) != 0) copies_.emplace_back(output, Root(output));
  }
}

// ---- Shapes

const Partition::Shape* Partition::InputShape(TfLiteContext* context, int tensor) {
  const auto known = shapes_.find(tensor);
  if (known != shapes_.end()) return &known->second;
  const TfLiteIntArray* dims = context->tensors[tensor].dims;
  if (NumElements(dims) < 1) {
    context->ReportError(context, "tf_prune_ofa: tensor %d has no fixed shape.", tensor);
    return nullptr;
  }
  return &shapes_.emplace(tensor, Shape(dims->data, dims->data + dims->size)).first->second;
}

// A fusion computes what it was found for, and no other sizes.
TfLiteStatus Partition::CheckFusion(TfLiteContext* context, const Fusion& fusion) {
  for (const FusionTensor& tensor : Reads(fusion)) {
    const Shape* shape = InputShape(context, tensor.tensor);
    if (shape == nullptr) return kTfLiteError;
    if (Product(*shape) == tensor.count) continue;
    context->ReportError(context,
                         "tf_prune_ofa: tensor %d changed its size; the delegate takes it only as "
                         "it is in the file.",
                         tensor.tensor);
    return kTfLiteError;
  }
  for (const FusionTensor& tensor : Writes(fusion)) {
    const TfLiteIntArray* dims = context->tensors[tensor.tensor].dims;
    shapes_[tensor.tensor] = Shape(dims->data, dims->data + dims->size);
  }
  return kTfLiteOk;
}

TfLiteStatus Partition::FindShape(TfLiteContext* context, const ClaimedNode& node) {
  const Shape* input = InputShape(context, node.input);
  if (input == nullptr) return kTfLiteError;
  Shape output;
  if (node.kind == NodeKind::kReshape) {
    const TfLiteIntArray* dims = context->tensors[node.output].dims;
    output.assign(dims->data, dims->data + dims->size);
    if (Product(output) != Product(*input)) {
      context->ReportError(context,
                           "tf_prune_ofa: the input of tensor %d changed its size; the delegate "
                           "takes it only as it is in the file.",
                           node.output);
      return kTfLiteError;
    }
  } else {
    const int64_t tokens = Product(*input) / node.columns;
    if (tokens * node.columns != Product(*input) || tokens > (1 << 24)) {
      context->ReportError(context, "tf_prune_ofa: the input of tensor %d changed its size.",
                           node.output);
      return kTfLiteError;
    }
    const int rows = node.layer->rows();
    if (node.output_shape == OutputShape::kMatrix) {
      output = {static_cast<int>(tokens), rows};
    } else if (node.output_shape == OutputShape::kColumn) {
      output = {(*input)[0], (*input)[1], 1, rows};
    } else {
      output = *input;
      output.back() = rows;
    }
  }
  shapes_[node.output] = std::move(output);
  return kTfLiteOk;
}

TfLiteStatus Partition::FindShapes(TfLiteContext* context) {
  shapes_.clear();
  for (const ClaimedNode& node : nodes_) {
    const TfLiteStatus status = node.kind == NodeKind::kFusion ? CheckFusion(context, *node.fusion)
                                                               : FindShape(context, node);
    if (status != kTfLiteOk) return status;
  }
  return kTfLiteOk;
}

TfLiteStatus Partition::SetOutputShapes(TfLiteContext* context) {
  for (const int output : outputs_) {
    const auto found = shapes_.find(output);
    if (found == shapes_.end()) continue;
    const Shape& shape = found->second;
    TfLiteTensor* tensor = context->tensors + output;
    const TfLiteIntArray* dims = tensor->dims;
    if (dims != nullptr && std::equal(shape.begin(), shape.end(), dims->data,
                                      dims->data + std::max(dims->size, 0))) {
      continue;
    }
    auto* size = static_cast<TfLiteIntArray*>(
        std::malloc(sizeof(TfLiteIntArray) + sizeof(int) * shape.size()));
    if (size == nullptr) return kTfLiteError;
    size->size = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), size->data);
    if (context->ResizeTensor(context, tensor, size) != kTfLiteOk) return kTfLiteError;
  }
  return kTfLiteOk;
}

// ---- Memory

// A piece is free again behind the last node that reads it: what lies in few pieces stays in the
// caches.
void Partition::PlanMemory() {
  std::set<int> outside(outputs_.begin(), outputs_.end());
  std::map<int, size_t> last_use;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (const int tensor : Inputs(nodes_[i])) last_use[Root(tensor)] = i;
  }
  for (const auto& [copy, original] : copies_) last_use[original] = nodes_.size();
  own_.clear();
  std::vector<size_t> sizes;
  std::set<size_t> free_pieces;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const ClaimedNode& node = nodes_[i];
    const int64_t numbers = node.kind == NodeKind::kLayer ? Product(shapes_[node.output]) : 0;
    for (const auto& [tensor, bytes] : Outputs(node, numbers)) {
      const int root = Root(tensor);
      if (outside.count(root) != 0 || own_.count(root) != 0) continue;
      // The smallest that is large enough, else the largest, which grows, else a new one.
      size_t best = sizes.size();
      for (const size_t piece : free_pieces) {
        const bool fits = sizes[piece] >= bytes;
        if (best == sizes.size() ||
            (fits ? sizes[best] < bytes || sizes[piece] < sizes[best]
                  : sizes[best] < bytes && sizes[piece] > sizes[best])) {
          best = piece;
        }
      }
      if (best == sizes.size()) sizes.push_back(0);
      sizes[best] = std::max(sizes[best], bytes);
      free_pieces.erase(best);
      own_[root] = best;
      last_use.emplace(root, i);
    }
    for (const auto& [root, piece] : own_) {
      if (last_use[root] == i) free_pieces.insert(piece);
    }
  }
  pieces_.resize(std::max(pieces_.size(), sizes.size()));
  for (size_t i = 0; i < sizes.size(); ++i) pieces_[i].Reserve(sizes[i]);
}

void Partition::ReserveWorkspace() {
  const Kernels& kernels = workspace_->kernels;
  const int threads = workspace_->pool.threads();
  workspace_->sums.Reserve(kernels, threads);
  for (const ClaimedNode& node : nodes_) {
    if (node.kind == NodeKind::kLayer) {
      const int tokens = static_cast<int>(Product(shapes_[node.input]) / node.columns);
      workspace_->activations[static_cast<int>(node.layer->layout())].Reserve(
          kernels, tokens, node.columns, threads);
    }
    if (node.kind != NodeKind::kFusion || node.fusion->attention == nullptr) continue;
    const Attention& attention = *node.fusion->attention;
    workspace_->scratch.resize(
        std::max(workspace_->scratch.size(), static_cast<size_t>(threads)));
    for (Buffer& scratch : workspace_->scratch) {
      scratch.Reserve(kernels.encoder->scratch_bytes(attention.tokens, attention.dim));
    }
    workspace_->mask.Reserve(sizeof(float) * (attention.tokens + 64));
  }
}

// Tokens can be left out where all nodes have the same, and one mask is for all.
void Partition::FindMask() {
  mask_ = -1;
  largest_step_ = 0;
  if (!leaves_out_masked_) return;
  int mask = -1;
  std::set<int> masks;
  std::set<int64_t> tokens;
  for (const ClaimedNode& node : nodes_) {
    if (node.kind == NodeKind::kLayer) tokens.insert(Product(shapes_[node.input]) / node.columns);
    if (node.kind != NodeKind::kFusion) continue;
    if (node.fusion->normalization != nullptr) {
      tokens.insert(node.fusion->normalization->parameters.tokens);
    }
    if (node.fusion->attention == nullptr) continue;
    const Attention& attention = *node.fusion->attention;
    tokens.insert(attention.tokens);
    mask = attention.mask;
    masks.insert(mask);
    mask_tokens_ = attention.tokens;
    largest_step_ = std::max(largest_step_, attention.quantization.score_step);
  }
  // RESHAPEs only give other names, so each of their outputs has as many numbers for a token.
  if (masks.size() == 1 && tokens.size() == 1) mask_ = mask;
}

TfLiteStatus Partition::Prepare(TfLiteContext* context) {
  if (FindShapes(context) != kTfLiteOk || SetOutputShapes(context) != kTfLiteOk) {
    return kTfLiteError;
  }
  std::lock_guard<std::mutex> lock(workspace_->mutex);
  PlanMemory();
  ReserveWorkspace();
  FindMask();
  return kTfLiteOk;
}

// Null if the host gave the tensor no memory, or less than `bytes`.
void* Partition::Data(TfLiteContext* context, int tensor, size_t bytes) const {
  const int root = Root(tensor);
  const auto found = own_.find(root);
  if (found != own_.end()) return pieces_[found->second].get();
  const TfLiteTensor& host = context->tensors[root];
  return host.bytes >= bytes ? host.data.data : nullptr;
}

}  // namespace tf_prune_ofa
