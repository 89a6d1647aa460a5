#include "claim_fusions.h"

#include <algorithm>
#include <set>
#include <utility>

namespace tf_prune_ofa {
namespace {

// What a host would make of some of its nodes.
struct Partitioning {
  std::vector<std::set<int>> nodes;
  std::set<int> outputs;  // tensors that are read elsewhere, or outputs of the graph
};

bool Preview(TfLiteContext* context, const std::vector<int>& nodes, Partitioning* found) {
  if (context->PreviewDelegatePartitioning == nullptr) return false;
  std::vector<int> array = {static_cast<int>(nodes.size())};
  array.insert(array.end(), nodes.begin(), nodes.end());
  TfLiteDelegateParams* partitions = nullptr;
  int count = 0;
  if (context->PreviewDelegatePartitioning(context,
                                           reinterpret_cast<const TfLiteIntArray*>(array.data()),
                                           &partitions, &count) != kTfLiteOk ||
      (count > 0 && partitions == nullptr)) {
    return false;
  }
  for (int i = 0; i < count; ++i) {
    const TfLiteIntArray& taken = *partitions[i].nodes_to_replace;
    const TfLiteIntArray& outputs = *partitions[i].output_tensors;
    found->nodes.emplace_back(taken.data, taken.data + taken.size);
    found->outputs.insert(outputs.data, outputs.data + outputs.size);
  }
  return true;
}

template <typename Predicate>
bool All(const std::vector<int>& values, Predicate predicate) {
  return std::all_of(values.begin(), values.end(), predicate);
}

class FusionFinder {
 public:
  FusionFinder(TfLiteContext* context, const Graph& graph, Claims* claims)
      : context_(context), graph_(graph), claims_(*claims) {}

  void Run(const EncoderKernels& kernels, LiveTokens live_tokens) {
    fusions_ = FindFusions(graph_, kernels);
    KeepConnected();
    // Dropping one may part others, so ask again until the host leaves all in one piece.
    Partitioning partitioning;
    while (!fusions_.empty()) {
      partitioning = {};
      if (!Preview(context_, ClaimedNodes(), &partitioning)) return;
      const size_t before = fusions_.size();
      Drop([&](const Fusion& fusion) { return !IsWhole(fusion, partitioning); });
      if (fusions_.size() == before) break;
      KeepConnected();
    }
    for (Fusion& fusion : fusions_) Claim(std::move(fusion));
    claims_.leaves_out_masked =
        claims_.attentions > 0 &&
        (live_tokens == LiveTokens::kAlways ||
         (live_tokens == LiveTokens::kWhereUnseen && OnlyFirstTokenIsSeen(partitioning)));
  }

 private:
  template <typename Predicate>
  void Drop(Predicate predicate) {
    fusions_.erase(std::remove_if(fusions_.begin(), fusions_.end(), predicate), fusions_.end());
  }

  bool IsOurs(int node) const { return claims_.nodes.count(node) != 0 || inside_.count(node) != 0; }

  // A RESHAPE in front of a layer is the delegate's already, and may be a fusion's last operator.
  bool IsFree(int node) const {
    const auto found = claims_.nodes.find(node);
    return found == claims_.nodes.end() || found->second.kind == NodeKind::kReshape;
  }

  bool IsConnected(const Fusion& fusion) const {
    return All(fusion.needs_writer,
               [this](int tensor) {
                 const Operator* writer = graph_.Writer(tensor);
                 return writer != nullptr && IsOurs(writer->index);
               }) &&
           All(fusion.needs_readers, [this](int tensor) {
             const std::vector<int>& readers = graph_.Readers(tensor);
             return !readers.empty() && All(readers, [this](int node) { return IsOurs(node); });
           });
  }

  // A fusion may lean on another, so dropping one may drop others.
  void KeepConnected() {
    size_t before;
    do {
      before = fusions_.size();
      inside_.clear();
      for (const Fusion& fusion : fusions_) inside_.insert(fusion.nodes.begin(), fusion.nodes.end());
      // Two that share an operator would be computed twice, or neither where it should.
      size_t count = 0;
      for (const Fusion& fusion : fusions_) count += fusion.nodes.size();
      if (count != inside_.size()) fusions_.clear();
      Drop([this](const Fusion& fusion) {
        return !IsConnected(fusion) || !All(fusion.nodes, [this](int node) { return IsFree(node); });
      });
    } while (fusions_.size() != before);
  }

  std::vector<int> ClaimedNodes() const {
    std::set<int> nodes;
    for (const auto& [node, claimed] : claims_.nodes) nodes.insert(node);
    for (const Fusion& fusion : fusions_) nodes.insert(fusion.nodes.begin(), fusion.nodes.end());
    return std::vector<int>(nodes.begin(), nodes.end());
  }

  // In one partition, and nothing that is never written is seen outside.
  static bool IsWhole(const Fusion& fusion, const Partitioning& partitioning) {
    return All(fusion.hidden,
               [&](int tensor) { return partitioning.outputs.count(tensor) == 0; }) &&
           std::any_of(partitioning.nodes.begin(), partitioning.nodes.end(),
                       [&](const std::set<int>& nodes) {
                         return All(fusion.nodes, [&](int node) { return nodes.count(node) != 0; });
                       });
  }

  void Claim(Fusion fusion) {
    claims_.attentions += fusion.attention != nullptr;
    claims_.normalizations += fusion.normalization != nullptr;
    claims_.tables += fusion.table != nullptr;
    for (const int node : fusion.nodes) claims_.nodes[node].kind = NodeKind::kInside;
    ClaimedNode& claimed = claims_.nodes[fusion.runs_at];
    claimed.kind = NodeKind::kFusion;
    claimed.fusion = std::make_shared<const Fusion>(std::move(fusion));
  }

  // ---- Tokens that nobody sees

  bool OnlyFirstTokenIsSeen(const Partitioning& partitioning) const {
    Partitioning whole;
    std::vector<int> all;
    for (const Operator& op : graph_.operators()) all.push_back(op.index);
    if (!Preview(context_, all, &whole)) return false;
    return std::all_of(
        partitioning.outputs.begin(), partitioning.outputs.end(), [&](int tensor) {
          return whole.outputs.count(tensor) == 0 &&
                 All(graph_.Readers(tensor), [this](int node) { return TakesFirstToken(node); });
        });
  }

  // STRIDED_SLICE from [0, 0, 0] to [1, 1, columns] of [1, tokens, columns].
  bool TakesFirstToken(int node) const {
    if (claims_.nodes.count(node) != 0) return true;
    const Operator* op = graph_.AtNode(node);
    if (op == nullptr || op->code() != kTfLiteBuiltinStridedSlice || op->inputs() != 4 ||
        op->node->builtin_data == nullptr) {
      return false;
    }
    const auto& parameters = *static_cast<const TfLiteStridedSliceParams*>(op->node->builtin_data);
    const TfLiteTensor* input = graph_.Tensor(op->input(0));
    if (parameters.ellipsis_mask != 0 || parameters.new_axis_mask != 0 || input == nullptr ||
        input->dims == nullptr || input->dims->size != 3 || input->dims->data[0] != 1) {
      return false;
    }
    const TfLiteTensor* numbers[3];
    for (int i = 0; i < 3; ++i) {
      numbers[i] = graph_.Tensor(op->input(1 + i));
      if (numbers[i] == nullptr || numbers[i]->type != kTfLiteInt32 || !IsConstant(*numbers[i]) ||
          numbers[i]->bytes != 3 * sizeof(int32_t)) {
        return false;
      }
    }
    constexpr int kTokens = 1;  // the dimension
    const bool begins = (parameters.begin_mask >> kTokens & 1) != 0 ||
                        numbers[0]->data.i32[kTokens] == 0;
    const bool ends = (parameters.shrink_axis_mask >> kTokens & 1) != 0 ||
                      ((parameters.end_mask >> kTokens & 1) == 0 &&
                       numbers[1]->data.i32[kTokens] == 1);
    return begins && ends && numbers[2]->data.i32[kTokens] == 1;
  }

  TfLiteContext* context_;
  const Graph& graph_;
  Claims& claims_;
  std::vector<Fusion> fusions_;
  std::set<int> inside_;
};

}  // namespace

void ClaimFusions(TfLiteContext* context, const Graph& graph, const ClaimSettings& settings,
                  Claims* claims) {
  const EncoderKernels* kernels = settings.kernels->encoder;
  if (!settings.takes_fusions || kernels == nullptr || claims->nodes.empty()) return;
  FusionFinder(context, graph, claims).Run(*kernels, settings.live_tokens);
}

}  // namespace tf_prune_ofa
