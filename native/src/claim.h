// Which operators of a graph the delegate takes, and what it has to know of them.
#ifndef TF_PRUNE_OFA_CLAIM_H_
#define TF_PRUNE_OFA_CLAIM_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cost.h"
#include "fusion.h"
#include "kernel.h"
#include "layer.h"
#include "tf_prune_ofa/tflite_abi.h"

namespace tf_prune_ofa {

// Whether tokens that attention masks are left out, and 0 where they would be.
enum class LiveTokens : uint8_t {
  kNever,
  kWhereUnseen,  // where others read the first token alone
  kAlways,
};

struct ClaimSettings {
  const Kernels* kernels = nullptr;
  int threads = 1;
  CostTable costs;
  ChoiceLimits limits;
  // Expected time below which a layer is taken, 1 for dense.
  double largest_ratio = 0.9;
  // Take whatever can be computed, for tests.
  bool is_forced = false;
  // Also take what lies between the layers of an encoder.
  bool takes_fusions = true;
  LiveTokens live_tokens = LiveTokens::kWhereUnseen;
};

enum class NodeKind : uint8_t {
  kLayer,    // FULLY_CONNECTED, or a CONV_2D whose window is the whole input
  kDensify,  // unpacks a layer's weights; nothing is left to do
  kReshape,  // other names for the same numbers, in front of such a CONV_2D and behind it
  kFusion,   // the operator at which a fusion is computed
  kInside,   // the others of a fusion; nothing is left to do
};

// How a layer's output shape follows from its input's.
enum class OutputShape : uint8_t { kLastDimension, kMatrix, kColumn };

struct ClaimedNode {
  NodeKind kind = NodeKind::kLayer;
  int input = 0, output = 0;
  int columns = 0;  // K
  OutputShape output_shape = OutputShape::kLastDimension;
  std::shared_ptr<const Layer> layer;
  std::shared_ptr<const Fusion> fusion;
};

// What became of an operator that has INT8 weights.
struct Verdict {
  int node;
  std::string name;    // of the weights
  bool is_claimed;
  std::string reason;  // layout and expected ratio, or why it was left
};

struct Claims {
  std::map<int, ClaimedNode> nodes;
  std::vector<Verdict> verdicts;
  // Layers that might be faster here, but of which nobody measured it; each shape once.
  std::vector<LayerShape> unmeasured;
  // Of the fusions among `nodes`.
  int attentions = 0, normalizations = 0, tables = 0;
  bool leaves_out_masked = false;
};

// Reads the whole graph. Whatever is malformed or unknown is left to others; nothing throws but
// std::bad_alloc.
Claims FindClaims(TfLiteContext* context, const ClaimSettings& settings);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_CLAIM_H_
