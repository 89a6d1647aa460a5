// Constant INT8 weights out of TFLite tensors, dense or in TFLite's sparse encoding.
#ifndef TF_PRUNE_OFA_SPARSE_TENSOR_H_
#define TF_PRUNE_OFA_SPARSE_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tf_prune_ofa/tflite_abi.h"

namespace tf_prune_ofa {

// Numbers that a tensor's shape has room for; -1 where a length is below 0 or the product is above
// 2^28, larger than any tensor of ours.
int64_t NumElements(const TfLiteIntArray* shape);

// Fills `dense` with the tensor's values, zeros included. Nothing in the tensor is trusted.
// Returns whether it is well formed; otherwise `reason` says what is wrong.
bool DenseValues(const TfLiteTensor& tensor, std::vector<int8_t>* dense, std::string* reason);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_SPARSE_TENSOR_H_
