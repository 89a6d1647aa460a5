// A small stand-in for TFLite: enough of an interpreter to give a delegate a graph and to run it.
#ifndef TF_PRUNE_OFA_TESTS_FAKE_HOST_H_
#define TF_PRUNE_OFA_TESTS_FAKE_HOST_H_

#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "tf_prune_ofa/tflite_abi.h"

namespace tf_prune_ofa {

// Memory for TFLite's arrays, which are allocated with malloc.
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// One subgraph. Tensors get their memory where the delegate has to look for it: constants and what
// lies between the delegate's operators and others; what is inside a partition has none.
class FakeHost {
 public:
  FakeHost() {
    std::memset(&context_, 0, sizeof(context_));
    context_.impl_ = this;
    context_.GetExecutionPlan = GetExecutionPlan;
    context_.GetNodeAndRegistration = GetNodeAndRegistration;
    context_.ReplaceNodeSubsetsWithDelegateKernels = Replace;
    context_.ResizeTensor = ResizeTensor;
    context_.ReportError = ReportError;
    context_.recommended_num_threads = 2;
  }

  ~FakeHost() {
    Reset();
    for (TfLiteTensor& tensor : tensors_) std::free(tensor.dims);
  }

  // Takes the graph back from the delegate, which has to outlive what it made.
  void Reset() {
    for (Kernel& kernel : kernels_) {
      kernel.registration.free(&context_, kernel.node.user_data);
    }
    kernels_.clear();
    taken_.clear();
  }

  // ---- Building

  int AddTensor(TfLiteType type, const std::vector<int>& shape) {
    TfLiteTensor tensor;
    std::memset(&tensor, 0, sizeof(tensor));
    tensor.type = type;
    tensor.dims = Ints(shape);
    tensor.allocation_type = kTfLiteArenaRw;
    size_t count = 1;
    for (const int length : shape) count *= static_cast<size_t>(length);
    tensor.bytes = count * (type == kTfLiteInt8 ? 1 : 4);
    tensor.name = "tensor";
    tensors_.push_back(tensor);
    return static_cast<int>(tensors_.size()) - 1;
  }

  template <typename Number>
  int AddConstant(TfLiteType type, const std::vector<int>& shape, const std::vector<Number>& values) {
    const int index = AddTensor(type, shape);
    TfLiteTensor& tensor = tensors_[index];
    tensor.allocation_type = kTfLiteMmapRo;
    tensor.bytes = values.size() * sizeof(Number);
    tensor.data.data = Memory(tensor.bytes);
    if (!values.empty()) std::memcpy(tensor.data.data, values.data(), tensor.bytes);
    return index;
  }

  void Quantize(int tensor, const std::vector<float>& scales, const std::vector<int>& zero_points,
                int dimension = 0) {
    affines_.emplace_back();
    TfLiteAffineQuantization& affine = affines_.back();
    affine.scale = Floats(scales);
    affine.zero_point = Keep(Ints(zero_points));
    affine.quantized_dimension = dimension;
    tensors_[tensor].quantization = {kTfLiteAffineQuantization, &affine};
  }

  TfLiteSparsity* AddSparsity(int tensor, const std::vector<int>& order,
                              const std::vector<int>& block_map,
                              const std::vector<TfLiteDimensionMetadata>& levels) {
    levels_.push_back(levels);
    sparsities_.emplace_back();
    TfLiteSparsity& sparsity = sparsities_.back();
    sparsity.traversal_order = KeptInts(order);
    sparsity.block_map = KeptInts(block_map);
    sparsity.dim_metadata = levels_.back().data();
    sparsity.dim_metadata_size = static_cast<int>(levels.size());
    return tensors_[tensor].sparsity = &sparsity;
  }

  template <typename Parameters>
  int AddNode(int code, int version, const std::vector<int>& inputs, const std::vector<int>& outputs,
              const Parameters& parameters) {
    nodes_.emplace_back();
    Node& node = nodes_.back();
    std::memset(&node.node, 0, sizeof(node.node));
    std::memset(&node.registration, 0, sizeof(node.registration));
    node.registration.builtin_code = code;
    node.registration.version = version;
    node.node.inputs = KeptInts(inputs);
    node.node.outputs = KeptInts(outputs);
    node.node.builtin_data = Memory(sizeof(parameters));
    std::memcpy(node.node.builtin_data, &parameters, sizeof(parameters));
    return static_cast<int>(nodes_.size()) - 1;
  }

  // Exchanges two nodes' places in the order of execution.
  void SwapNodes(int a, int b) { std::swap(nodes_[a], nodes_[b]); }

  TfLiteIntArray* KeptInts(const std::vector<int>& values) { return Keep(Ints(values)); }

  TfLiteTensor& tensor(int index) { return tensors_[index]; }
  TfLiteNode& node(int index) { return nodes_[index].node; }
  TfLiteRegistration& registration(int index) { return nodes_[index].registration; }
  TfLiteContext* context() { return &context_; }
  int tensor_count() const { return static_cast<int>(tensors_.size()); }
  int node_count() const { return static_cast<int>(nodes_.size()); }

  // ---- Running

  // Tensors that are read after a run, as a graph's outputs are.
  std::set<int> graph_outputs;

  // Gives the graph to a delegate. Returns the delegate's answer.
  TfLiteStatus Apply(TfLiteDelegate* delegate) {
    context_.tensors = &tensors_[0];
    context_.tensors_size = tensors_.size();
    return delegate->Prepare(&context_, delegate);
  }

  // Nodes that were taken, by index.
  const std::set<int>& taken() const { return taken_; }

  TfLiteStatus Allocate() {
    for (Kernel& kernel : kernels_) {
      if (kernel.registration.prepare(&context_, &kernel.node) != kTfLiteOk) return kTfLiteError;
    }
    std::set<int> seen(graph_outputs);
    for (const Kernel& kernel : kernels_) {
      seen.insert(kernel.inputs.begin(), kernel.inputs.end());
      seen.insert(kernel.outputs.begin(), kernel.outputs.end());
    }
    for (const int index : seen) {
      TfLiteTensor& tensor = tensors_[index];
      if (tensor.allocation_type != kTfLiteMmapRo && tensor.data.data == nullptr) {
        tensor.data.data = Memory(tensor.bytes);
      }
    }
    return kTfLiteOk;
  }

  TfLiteStatus Invoke() {
    for (Kernel& kernel : kernels_) {
      if (kernel.registration.invoke(&context_, &kernel.node) != kTfLiteOk) return kTfLiteError;
    }
    return kTfLiteOk;
  }

 private:
  struct Node {
    TfLiteNode node;
    TfLiteRegistration registration;
  };
  struct Kernel {
    TfLiteNode node;
    TfLiteRegistration registration;
    std::set<int> inputs, outputs;
  };

  static FakeHost* Of(TfLiteContext* context) { return static_cast<FakeHost*>(context->impl_); }

  static TfLiteIntArray* Ints(const std::vector<int>& values) {
    auto* array = static_cast<TfLiteIntArray*>(
        std::malloc(sizeof(TfLiteIntArray) + sizeof(int) * values.size()));
    array->size = static_cast<int>(values.size());
    if (!values.empty()) std::memcpy(array->data, values.data(), sizeof(int) * values.size());
    return array;
  }
  TfLiteIntArray* Keep(TfLiteIntArray* array) {
    memory_.emplace_back(array);
    return array;
  }
  TfLiteFloatArray* Floats(const std::vector<float>& values) {
    auto* array = static_cast<TfLiteFloatArray*>(
        Memory(sizeof(TfLiteFloatArray) + sizeof(float) * values.size()));
    array->size = static_cast<int>(values.size());
    if (!values.empty()) std::memcpy(array->data, values.data(), sizeof(float) * values.size());
    return array;
  }
  void* Memory(size_t bytes) {
    memory_.emplace_back(std::calloc(bytes == 0 ? 1 : bytes, 1));
    return memory_.back().get();
  }

  static TfLiteStatus GetExecutionPlan(TfLiteContext* context, TfLiteIntArray** plan) {
    FakeHost* host = Of(context);
    std::vector<int> all;
    for (int i = 0; i < host->node_count(); ++i) all.push_back(i);
    *plan = host->KeptInts(all);
    return kTfLiteOk;
  }

  static TfLiteStatus GetNodeAndRegistration(TfLiteContext* context, int index, TfLiteNode** node,
                                             TfLiteRegistration** registration) {
    FakeHost* host = Of(context);
    if (index < 0 || index >= host->node_count()) return kTfLiteError;
    *node = &host->nodes_[index].node;
    *registration = &host->nodes_[index].registration;
    return kTfLiteOk;
  }

  // A partition for each run of neighbouring nodes; TFLite finds larger ones.
  static TfLiteStatus Replace(TfLiteContext* context, TfLiteRegistration registration,
                              const TfLiteIntArray* nodes, TfLiteDelegate* delegate) {
    FakeHost* host = Of(context);
    host->taken_.insert(nodes->data, nodes->data + nodes->size);
    std::vector<int> partition;
    for (int i = 0; i <= host->node_count(); ++i) {
      if (host->taken_.count(i) != 0) {
        partition.push_back(i);
      } else if (!partition.empty()) {
        host->AddKernel(registration, partition, delegate);
        partition.clear();
      }
    }
    return kTfLiteOk;
  }

  void AddKernel(const TfLiteRegistration& registration, const std::vector<int>& nodes,
                 TfLiteDelegate* delegate) {
    Kernel kernel;
    std::memset(&kernel.node, 0, sizeof(kernel.node));
    kernel.registration = registration;
    std::set<int> written, inside(nodes.begin(), nodes.end());
    for (const int index : nodes) {
      const TfLiteNode& node = nodes_[index].node;
      for (int i = 0; i < node.inputs->size; ++i) {
        if (node.inputs->data[i] >= 0 && written.count(node.inputs->data[i]) == 0) {
          kernel.inputs.insert(node.inputs->data[i]);
        }
      }
      written.insert(node.outputs->data, node.outputs->data + node.outputs->size);
    }
    for (const int tensor : written) {
      bool is_read_outside = graph_outputs.count(tensor) != 0;
      for (int other = 0; other < node_count(); ++other) {
        const TfLiteIntArray* inputs = nodes_[other].node.inputs;
        for (int i = 0; inside.count(other) == 0 && i < inputs->size; ++i) {
          is_read_outside = is_read_outside || inputs->data[i] == tensor;
        }
      }
      if (is_read_outside) kernel.outputs.insert(tensor);
    }
    TfLiteDelegateParams params = {
        delegate, KeptInts(nodes),
        KeptInts(std::vector<int>(kernel.inputs.begin(), kernel.inputs.end())),
        KeptInts(std::vector<int>(kernel.outputs.begin(), kernel.outputs.end()))};
    kernel.node.user_data =
        registration.init(&context_, reinterpret_cast<const char*>(&params), 0);
    kernels_.push_back(kernel);
  }

  static TfLiteStatus ResizeTensor(TfLiteContext*, TfLiteTensor* tensor, TfLiteIntArray* size) {
    std::free(tensor->dims);
    tensor->dims = size;
    size_t count = tensor->type == kTfLiteInt8 ? 1 : 4;
    for (int i = 0; i < size->size; ++i) count *= static_cast<size_t>(size->data[i]);
    tensor->bytes = count;
    tensor->data.data = nullptr;
    return kTfLiteOk;
  }

  __attribute__((format(printf, 2, 3))) static void ReportError(TfLiteContext*, const char* format,
                                                                ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    CHECK(std::strncmp(text, "tf_prune_ofa: ", 14) == 0, "the message %s", text);
  }

  TfLiteContext context_;
  std::vector<TfLiteTensor> tensors_;
  std::deque<Node> nodes_;
  std::deque<Kernel> kernels_;
  std::deque<TfLiteAffineQuantization> affines_;
  std::deque<TfLiteSparsity> sparsities_;
  std::deque<std::vector<TfLiteDimensionMetadata>> levels_;
  std::deque<std::unique_ptr<void, Free>> memory_;
  std::set<int> taken_;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_TESTS_FAKE_HOST_H_
