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

}  // namespace

Partition::Partition(std::vector<ClaimedNode> nodes, const TfLiteIntArray& outputs,
                     Workspace* workspace)
    : nodes_(std::move(nodes)),
      outputs_(outputs.data, outputs.data + outputs.size),
      workspace_(workspace) {
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
    if (node.kind == NodeKind::kLayer) written.insert(node.output);
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

TfLiteStatus Partition::FindShapes(TfLiteContext* context) {
  shapes_.clear();
  for (const ClaimedNode& node : nodes_) {
    if (node.kind == NodeKind::kDensify) continue;
    auto known = shapes_.find(node.input);
    if (known == shapes_.end()) {
      const TfLiteIntArray* dims = context->tensors[node.input].dims;
      if (NumElements(dims) < 1) {
        context->ReportError(context, "tf_prune_ofa: tensor %d has no fixed shape.", node.input);
        return kTfLiteError;
      }
      known = shapes_.emplace(node.input, Shape(dims->data, dims->data + dims->size)).first;
    }
    const Shape& input = known->second;
    Shape output;
    if (node.kind == NodeKind::kReshape) {
      const TfLiteIntArray* dims = context->tensors[node.output].dims;
      output.assign(dims->data, dims->data + dims->size);
      if (Product(output) != Product(input)) {
        context->ReportError(context,
                             "tf_prune_ofa: the input of tensor %d changed its size; the delegate "
                             "takes it only as it is in the file.",
                             node.output);
        return kTfLiteError;
      }
    } else {
      const int64_t tokens = Product(input) / node.columns;
      if (tokens * node.columns != Product(input) || tokens > (1 << 24)) {
        context->ReportError(context, "tf_prune_ofa: the input of tensor %d changed its size.",
                             node.output);
        return kTfLiteError;
      }
      const int rows = node.layer->rows();
      if (node.output_shape == OutputShape::kMatrix) {
        output = {static_cast<int>(tokens), rows};
      } else if (node.output_shape == OutputShape::kColumn) {
        output = {input[0], input[1], 1, rows};
      } else {
        output = input;
        output.back() = rows;
      }
    }
    shapes_[node.output] = std::move(output);
  }
  return kTfLiteOk;
}

TfLiteStatus Partition::Prepare(TfLiteContext* context) {
  if (FindShapes(context) != kTfLiteOk) return kTfLiteError;
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

  std::lock_guard<std::mutex> lock(workspace_->mutex);
  const int threads = workspace_->pool.threads();
  workspace_->sums.Reserve(workspace_->kernels, threads);
  std::set<int> outside(outputs_.begin(), outputs_.end());
  for (const ClaimedNode& node : nodes_) {
    if (node.kind != NodeKind::kLayer) continue;
    const int tokens = static_cast<int>(Product(shapes_[node.input]) / node.columns);
    PackedActivations& activations =
        workspace_->activations[static_cast<int>(node.layer->layout())];
    activations.Reserve(workspace_->kernels, tokens, node.columns, threads);
    const int root = Root(node.output);
    if (outside.count(root) == 0) {
      own_[root].Reserve(Product(shapes_[node.output]) * BytesOf(node.layer->arithmetic()));
    }
  }
  return kTfLiteOk;
}

// Null if the host gave the tensor no memory, or less than `bytes`.
void* Partition::Data(TfLiteContext* context, int tensor, size_t bytes) const {
  const int root = Root(tensor);
  const auto found = own_.find(root);
  if (found != own_.end()) return found->second.get();
  const TfLiteTensor& host = context->tensors[root];
  return host.bytes >= bytes ? host.data.data : nullptr;
}

TfLiteStatus Partition::Invoke(TfLiteContext* context) {
  std::lock_guard<std::mutex> lock(workspace_->mutex);
  // By layout: what is packed. A RESHAPE may have made longer or shorter rows of the same tensor.
  std::pair<int, int> packed[2] = {{-1, 0}, {-1, 0}};
  for (const ClaimedNode& node : nodes_) {
    if (node.kind != NodeKind::kLayer) continue;
    const Layer& layer = *node.layer;
    const int64_t numbers = Product(shapes_.at(node.input));
    const int tokens = static_cast<int>(numbers / node.columns);
    const size_t number_bytes = BytesOf(layer.arithmetic());
    const void* input = Data(context, node.input, numbers * number_bytes);
    void* output =
        Data(context, node.output, static_cast<size_t>(tokens) * layer.rows() * number_bytes);
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
  }
  for (const auto& [copy, original] : copies_) {
    const TfLiteTensor& to = context->tensors[copy];
    const void* from = Data(context, original, to.bytes);
    if (to.data.data == nullptr || from == nullptr) return kTfLiteError;
    std::memcpy(to.data.data, from, to.bytes);
  }
  return kTfLiteOk;
}

}  // namespace tf_prune_ofa
