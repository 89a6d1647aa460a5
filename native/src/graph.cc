#include "graph.h"

#include <algorithm>
#include <cmath>

#include "sparse_tensor.h"

namespace tf_prune_ofa {

bool Graph::Read(TfLiteContext* context) {
  context_ = context;
  TfLiteIntArray* plan = nullptr;
  if (context->GetExecutionPlan(context, &plan) != kTfLiteOk || plan == nullptr) return false;
  // The plan belongs to the host and may change with the next call.
  const std::vector<int> indices(plan->data, plan->data + std::max(plan->size, 0));
  for (const int index : indices) {
    TfLiteNode* node = nullptr;
    TfLiteRegistration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, index, &node, &registration) != kTfLiteOk ||
        node == nullptr || registration == nullptr || node->inputs == nullptr ||
        node->outputs == nullptr) {
      return false;
    }
    const Operator op = {index, node, registration};
    for (int i = 0; i < node->inputs->size; ++i) readers_[op.input(i)].push_back(index);
    for (int i = 0; i < node->outputs->size; ++i) ReadOutput(op, node->outputs->data[i]);
    if (node->outputs->size != 1) continue;
    places_[index] = operators_.size();
    operators_.push_back(op);
  }
  return true;
}

// What a partition takes for granted: a tensor is written by one operator, before it is read.
// A runtime may run other graphs all the same, in its own way.
void Graph::ReadOutput(const Operator& op, int tensor) {
  const TfLiteTensor* written = Tensor(tensor);
  if (written == nullptr) return;
  const char* fault = nullptr;
  if (!writers_.emplace(tensor, op.index).second) {
    fault = "is written by two operators";
  } else if (readers_.count(tensor) != 0) {
    fault = "is read before it is written";
  } else if (written->allocation_type == kTfLiteMmapRo) {
    fault = "is constant and written";
  }
  if (fault != nullptr && disorder_.empty()) {
    disorder_ = "the graph is out of order, tensor " + std::to_string(tensor) + " " + fault;
  }
}

const TfLiteTensor* Graph::Tensor(int index) const {
  if (index < 0 || static_cast<size_t>(index) >= context_->tensors_size) return nullptr;
  return context_->tensors + index;
}

const Operator* Graph::AtNode(int node) const {
  const auto place = places_.find(node);
  return place == places_.end() ? nullptr : &operators_[place->second];
}

const Operator* Graph::Writer(int tensor) const {
  const auto found = writers_.find(tensor);
  return found == writers_.end() ? nullptr : AtNode(found->second);
}

const Operator* Graph::Writer(int tensor, int code) const {
  const Operator* op = Writer(tensor);
  return op == nullptr || op->code() != code || op->inputs() < 1 ? nullptr : op;
}

const std::vector<int>& Graph::Readers(int tensor) const {
  static const std::vector<int> none;
  const auto found = readers_.find(tensor);
  return found == readers_.end() ? none : found->second;
}

const Operator* Graph::OnlyReader(int tensor, int code) const {
  const std::vector<int>& readers = Readers(tensor);
  const Operator* op = readers.size() == 1 ? AtNode(readers[0]) : nullptr;
  return op == nullptr || op->code() != code ? nullptr : op;
}

bool IsFixed(const TfLiteTensor& tensor) {
  if (tensor.allocation_type == kTfLiteDynamic || NumElements(tensor.dims) < 1) return false;
  if (tensor.dims_signature == nullptr) return true;
  for (int i = 0; i < tensor.dims_signature->size; ++i) {
    if (tensor.dims_signature->data[i] < 0) return false;
  }
  return true;
}

bool IsConstant(const TfLiteTensor& tensor) {
  return tensor.allocation_type == kTfLiteMmapRo && tensor.data.data != nullptr &&
         tensor.sparsity == nullptr;
}

bool HaveSameShape(const TfLiteTensor& a, const TfLiteTensor& b) {
  return a.dims != nullptr && b.dims != nullptr && a.dims->size == b.dims->size &&
         std::equal(a.dims->data, a.dims->data + std::max(a.dims->size, 0), b.dims->data);
}

bool IsShapeOf(const TfLiteTensor& shape, const TfLiteTensor& output) {
  if (shape.type != kTfLiteInt32 || !IsConstant(shape) || output.dims == nullptr ||
      output.dims->size < 0 || shape.bytes != sizeof(int32_t) * size_t(output.dims->size)) {
    return false;
  }
  int open = 0;
  for (int i = 0; i < output.dims->size; ++i) {
    const int32_t length = shape.data.i32[i];
    open += length == -1;
    if (length != -1 && length != output.dims->data[i]) return false;
  }
  return open <= 1;
}

const TfLiteAffineQuantization* Affine(const TfLiteTensor& tensor) {
  if (tensor.quantization.type != kTfLiteAffineQuantization) return nullptr;
  const auto* affine = static_cast<const TfLiteAffineQuantization*>(tensor.quantization.params);
  if (affine == nullptr || affine->scale == nullptr || affine->zero_point == nullptr) return nullptr;
  // Hosts before LiteRT 2 write equal zero points of many scales once.
  const int zero_points = affine->zero_point->size;
  return zero_points == affine->scale->size || zero_points == 1 ? affine : nullptr;
}

bool IsScale(float scale) { return scale > 0 && std::isfinite(scale); }

bool TensorQuantization(const TfLiteTensor& tensor, float* scale, int32_t* zero_point) {
  const TfLiteAffineQuantization* affine = Affine(tensor);
  if (affine == nullptr || affine->scale->size != 1) return false;
  *scale = affine->scale->data[0];
  *zero_point = affine->zero_point->data[0];
  return IsScale(*scale) && *zero_point >= -128 && *zero_point <= 127;
}

}  // namespace tf_prune_ofa
