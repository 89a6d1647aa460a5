// The delegate's operators that lie together in a graph, run one after the other.
#ifndef TF_PRUNE_OFA_PARTITION_H_
#define TF_PRUNE_OFA_PARTITION_H_

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "claim.h"
#include "layer.h"
#include "tf_prune_ofa/tflite_abi.h"
#include "thread_pool.h"

namespace tf_prune_ofa {

// What all partitions of a delegate share; a host runs one of them at a time, two hosts may not.
struct Workspace {
  Workspace(const Kernels& kernels_in, int threads) : kernels(kernels_in), pool(threads) {}

  const Kernels& kernels;
  ThreadPool pool;
  std::mutex mutex;
  // By layout: layers of one input may differ in it.
  PackedActivations activations[2];
  Sums sums;
};

class Partition {
 public:
  // `nodes` in the order of execution; `outputs` are the tensors that others read.
  Partition(std::vector<ClaimedNode> nodes, const TfLiteIntArray& outputs, Workspace* workspace);

  // Finds sizes, sets the shapes of outputs, allocates. Errors are reported to the context.
  TfLiteStatus Prepare(TfLiteContext* context);
  TfLiteStatus Invoke(TfLiteContext* context);

 private:
  using Shape = std::vector<int>;

  TfLiteStatus FindShapes(TfLiteContext* context);
  void ShareMemory();
  int Root(int tensor) const;
  void* Data(TfLiteContext* context, int tensor, size_t bytes) const;

  std::vector<ClaimedNode> nodes_;
  std::vector<int> outputs_;
  Workspace* workspace_;
  std::map<int, Shape> shapes_;
  // Tensors that a RESHAPE makes one: each leads to where its numbers are.
  std::map<int, int> same_as_;
  // Outputs that are only copies of another tensor, and that tensor.
  std::vector<std::pair<int, int>> copies_;
  // Tensors that nobody outside sees: the host gives them no memory.
  std::map<int, Buffer> own_;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_PARTITION_H_
