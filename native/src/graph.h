// What the delegate asks of a graph, read once through the host's context.
#ifndef TF_PRUNE_OFA_GRAPH_H_
#define TF_PRUNE_OFA_GRAPH_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tf_prune_ofa/tflite_abi.h"

namespace tf_prune_ofa {

struct Operator {
  int index;
  const TfLiteNode* node;
  const TfLiteRegistration* registration;

  int inputs() const { return node->inputs->size; }
  int input(int i) const { return node->inputs->data[i]; }
  int output() const { return node->outputs->data[0]; }
  int code() const { return registration->builtin_code; }
};

class Graph {
 public:
  // False if the host does not show its graph.
  bool Read(TfLiteContext* context);

  // Those with one output, in the order of execution.
  const std::vector<Operator>& operators() const { return operators_; }
  // What is wrong with the order of the operators, or empty.
  const std::string& disorder() const { return disorder_; }

  // Null if there is no such tensor.
  const TfLiteTensor* Tensor(int index) const;
  // The operator that writes a tensor, if it has one output; null if nobody does, or another operator
  // than `code`.
  const Operator* Writer(int tensor) const;
  const Operator* Writer(int tensor, int code) const;
  // Indices of the nodes that read a tensor, one for each time.
  const std::vector<int>& Readers(int tensor) const;
  // The only reader of a tensor, if it is one of `code`; else null.
  const Operator* OnlyReader(int tensor, int code) const;
  // Null if the node has not one output.
  const Operator* AtNode(int node) const;

 private:
  void ReadOutput(const Operator& op, int tensor);

  TfLiteContext* context_ = nullptr;
  std::vector<Operator> operators_;
  std::map<int, size_t> places_;  // in operators_, by node
  std::map<int, std::vector<int>> readers_;
  std::map<int, int> writers_;    // nodes
  std::string disorder_;
};

// Whether a tensor's shape is known before the graph runs.
bool IsFixed(const TfLiteTensor& tensor);
// Whether a tensor's numbers are known.
bool IsConstant(const TfLiteTensor& tensor);

bool HaveSameShape(const TfLiteTensor& a, const TfLiteTensor& b);
// Whether a RESHAPE to the constant `shape` gives `output` the shape that the file says.
bool IsShapeOf(const TfLiteTensor& shape, const TfLiteTensor& output);

// Null if the tensor is not quantized, or in a way that we do not know.
const TfLiteAffineQuantization* Affine(const TfLiteTensor& tensor);
bool IsScale(float scale);
// Scale and zero point of INT8 activations.
bool TensorQuantization(const TfLiteTensor& tensor, float* scale, int32_t* zero_point);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_GRAPH_H_
