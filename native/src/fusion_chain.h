// Following operators from one to the next, for the matchers of fusions.
#ifndef TF_PRUNE_OFA_FUSION_CHAIN_H_
#define TF_PRUNE_OFA_FUSION_CHAIN_H_

#include <algorithm>
#include <vector>

#include "fusion.h"
#include "sparse_tensor.h"

namespace tf_prune_ofa {

// Walks a graph and notes what it passes. Once a step fails all others do.
class Chain {
 public:
  explicit Chain(const Graph& graph) : graph_(graph) {}

  bool is_sound() const { return is_sound_; }
  void Require(bool condition) { is_sound_ = is_sound_ && condition; }

  // The operator that writes `tensor`, whose only readers are `readers` of the chain.
  const Operator* Back(int tensor, int code, size_t readers = 1) {
    const Operator* op = is_sound_ ? graph_.Writer(tensor, code) : nullptr;
    Require(op != nullptr && graph_.Readers(tensor).size() == readers);
    if (!is_sound_) return nullptr;
    Pass(*op);
    hidden_.push_back(tensor);
    return op;
  }

  // The only reader of what `op` writes.
  const Operator* On(const Operator* op, int code) {
    const Operator* next = is_sound_ ? graph_.OnlyReader(op->output(), code) : nullptr;
    Require(next != nullptr && next->inputs() >= 1);
    if (!is_sound_) return nullptr;
    hidden_.push_back(op->output());
    Pass(*next);
    return next;
  }

  void Pass(const Operator& op) {
    if (std::find(nodes_.begin(), nodes_.end(), op.index) == nodes_.end()) nodes_.push_back(op.index);
  }

  // A tensor of `type` and fixed shape; null, and the chain fails, otherwise.
  const TfLiteTensor* Fixed(int tensor, TfLiteType type) {
    const TfLiteTensor* found = is_sound_ ? graph_.Tensor(tensor) : nullptr;
    Require(found != nullptr && found->type == type && IsFixed(*found));
    return is_sound_ ? found : nullptr;
  }

  // INT8, and how it is quantized.
  const TfLiteTensor* Bytes(int tensor, float* scale, int32_t* zero_point) {
    const TfLiteTensor* found = Fixed(tensor, kTfLiteInt8);
    Require(found != nullptr && TensorQuantization(*found, scale, zero_point));
    return is_sound_ ? found : nullptr;
  }

  // Float constants, `count` of them.
  const float* Floats(int tensor, int64_t count) {
    const TfLiteTensor* found = Fixed(tensor, kTfLiteFloat32);
    Require(found != nullptr && IsConstant(*found) && NumElements(found->dims) == count &&
            found->bytes == sizeof(float) * static_cast<size_t>(count));
    return is_sound_ ? found->data.f : nullptr;
  }

  // Whether int32 constants are these.
  void RequireInts(int tensor, const std::vector<int>& expected) {
    const TfLiteTensor* found = Fixed(tensor, kTfLiteInt32);
    Require(found != nullptr && IsConstant(*found) &&
            found->bytes == sizeof(int32_t) * expected.size() &&
            std::equal(expected.begin(), expected.end(), found->data.i32));
  }

  // Float ADD, SUB or MUL without an activation.
  void RequirePlain(const Operator* op) {
    Require(is_sound_ && op->inputs() == 2 && op->node->builtin_data != nullptr &&
            static_cast<const TfLiteBinaryParams*>(op->node->builtin_data)->activation ==
                kTfLiteActNone);
  }

  void Finish(Fusion* fusion) {
    std::sort(nodes_.begin(), nodes_.end());
    fusion->nodes = nodes_;
    fusion->hidden = hidden_;
  }

 private:
  const Graph& graph_;
  bool is_sound_ = true;
  std::vector<int> nodes_, hidden_;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_FUSION_CHAIN_H_
