// The delegate's operators that lie together in a graph, run one after the other.
#ifndef TF_PRUNE_OFA_PARTITION_H_
#define TF_PRUNE_OFA_PARTITION_H_

#include <map>
#include <mutex>
#include <string>
#include <utility>
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
  // Of attention: each thread's own, and the mask with its padding.
  std::vector<Buffer> scratch;
  Buffer mask;
};

class Partition {
 public:
  // `nodes` in the order of execution; `outputs` are the tensors that others read. If
  // `leaves_out_masked`, tokens behind the last that attention does not mask are not computed, and 0
  // in the outputs.
  Partition(std::vector<ClaimedNode> nodes, const TfLiteIntArray& outputs, bool leaves_out_masked,
            Workspace* workspace);

  // Finds sizes, sets the shapes of outputs, allocates. Errors are reported to the context.
  TfLiteStatus Prepare(TfLiteContext* context);
  TfLiteStatus Invoke(TfLiteContext* context);

 private:
  using Shape = std::vector<int>;

  TfLiteStatus FindShapes(TfLiteContext* context);
  TfLiteStatus FindShape(TfLiteContext* context, const ClaimedNode& node);
  TfLiteStatus CheckFusion(TfLiteContext* context, const Fusion& fusion);
  const Shape* InputShape(TfLiteContext* context, int tensor);
  TfLiteStatus SetOutputShapes(TfLiteContext* context);
  void ShareMemory();
  void PlanMemory();
  void ReserveWorkspace();
  void FindMask();
  int Root(int tensor) const;
  void* Data(TfLiteContext* context, int tensor, size_t bytes) const;

  // How many tokens have to be computed: what attention reads, or all.
  int LiveTokens(TfLiteContext* context) const;
  TfLiteStatus RunLayer(TfLiteContext* context, const ClaimedNode& node, int live,
                        std::pair<int, int>* packed);
  TfLiteStatus RunFusion(TfLiteContext* context, const Fusion& fusion, int live);
  void RunAttention(const Attention& attention, const int8_t* const* inputs, const float* mask,
                    int8_t* out, int live);
  void RunNormalization(const NormalizeArgs& args, int live);
  TfLiteStatus FillOutputs(TfLiteContext* context, int live);

  std::vector<ClaimedNode> nodes_;
  std::vector<int> outputs_;
  bool leaves_out_masked_;
  Workspace* workspace_;
  std::map<int, Shape> shapes_;
  // Tensors that a RESHAPE makes one: each leads to where its numbers are.
  std::map<int, int> same_as_;
  // Outputs that are only copies of another tensor, and that tensor.
  std::vector<std::pair<int, int>> copies_;
  // Memory for tensors that nobody outside sees, to which the host gives none; several share a piece,
  // one after the other.
  std::vector<Buffer> pieces_;
  std::map<int, size_t> own_;  // a root's piece
  // Of all attentions: tokens and the largest step of scores; -1 where tokens cannot be left out.
  int mask_ = -1, mask_tokens_ = 0;
  float largest_step_ = 0;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_PARTITION_H_
