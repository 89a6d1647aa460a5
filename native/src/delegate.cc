// The library's door: what TFLite's loader of external delegates looks for.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "claim.h"
#include "cost.h"
#include "kernel.h"
#include "partition.h"
#include "tf_prune_ofa/tflite_abi.h"

#define TF_PRUNE_OFA_EXPORT extern "C" __attribute__((visibility("default")))

namespace tf_prune_ofa {
namespace {

constexpr int kMostThreads = 64;

struct Options {
  int threads = 0;  // 0: as the host was told
  bool is_verbose = false;
  ClaimSettings claim;
};

// Returns what is wrong with the options, or nothing.
std::string ParseOptions(const char* const* keys, const char* const* values, size_t count,
                         Options* options) {
  std::string isa, cost_table;
  // For whoever cannot pass options: a benchmark, a test of a host.
  if (const char* forced = std::getenv("TF_PRUNE_OFA_ISA")) isa = forced;
  for (size_t i = 0; i < count; ++i) {
    if (keys == nullptr || values == nullptr || keys[i] == nullptr || values[i] == nullptr) {
      return "an option without a key or a value";
    }
    const std::string key = keys[i], value = values[i];
    char* end = nullptr;
    if (key == "num_threads") {
      const long threads = std::strtol(values[i], &end, 10);
      if (value.empty() || *end != 0 || threads < 1 || threads > kMostThreads) {
        return "num_threads must be from 1 to 64, not " + value;
      }
      options->threads = static_cast<int>(threads);
    } else if (key == "min_saving") {
      const double saving = std::strtod(values[i], &end);
      if (value.empty() || *end != 0 || !(saving >= 0 && saving < 1)) {
        return "min_saving must be from 0 to below 1, not " + value;
      }
      options->claim.largest_ratio = 1 - saving;
    } else if (key == "isa") {
      isa = value;
    } else if (key == "cost_table") {
      cost_table = value;
    } else if (key == "force") {
      if (value != "all" && value != "none") return "force must be all or none, not " + value;
      options->claim.is_forced = value == "all";
    } else if (key == "layout") {
      if (value != "any" && value != "groups" && value != "columns") {
        return "layout must be any, groups or columns, not " + value;
      }
      options->claim.limits.has_layout = value != "any";
      options->claim.limits.layout = value == "columns" ? Layout::kColumns : Layout::kGroups;
    } else if (key == "tile_columns") {
      const long tile = std::strtol(values[i], &end, 10);
      if (value.empty() || *end != 0 || tile < 4 || tile > (1 << 16) || tile % 4 != 0) {
        return "tile_columns must be a multiple of 4, not " + value;
      }
      options->claim.limits.tile_columns = static_cast<int>(tile);
    } else if (key == "exact") {
      if (value != "0" && value != "1" && value != "false" && value != "true") {
        return "exact must be 0, 1, false or true, not " + value;
      }
      options->claim.takes_fusions = value == "0" || value == "false";
    } else if (key == "live_tokens") {
      if (value == "never") {
        options->claim.live_tokens = LiveTokens::kNever;
      } else if (value == "unseen") {
        options->claim.live_tokens = LiveTokens::kWhereUnseen;
      } else if (value == "always") {
        options->claim.live_tokens = LiveTokens::kAlways;
      } else {
        return "live_tokens must be never, unseen or always, not " + value;
      }
    } else if (key == "verbose") {
      if (value != "0" && value != "1" && value != "false" && value != "true") {
        return "verbose must be 0, 1, false or true, not " + value;
      }
      options->is_verbose = value == "1" || value == "true";
    } else {
      return "unknown option " + key +
             "; there are num_threads, isa, cost_table, min_saving, force, exact, live_tokens, "
             "layout, tile_columns, verbose";
    }
  }
  options->claim.kernels = FindKernels(isa.empty() ? nullptr : isa.c_str());
  if (options->claim.kernels == nullptr) {
    std::string names;
    for (const Kernels* kernels : AllKernels()) {
      if (kernels->is_supported()) names += std::string(" ") + kernels->name;
    }
    return "no kernels called " + isa + " here; there are" + names;
  }
  const Kernels& kernels = *options->claim.kernels;
  if (options->claim.limits.tile_columns > LargestTile(kernels)) {
    return "tile_columns is at most " + std::to_string(LargestTile(kernels)) + " for " +
           kernels.name;
  }
  std::string message;
  ReadCosts(kernels, ThisProcessor(), cost_table, &options->claim.costs, &message);
  return message;
}

struct Delegate {
  TfLiteDelegate base;  // first: the host's pointer is ours
  Options options;
  std::unique_ptr<Workspace> workspace;
  Claims claims;
  std::string report, unmeasured;
};

Delegate* Of(TfLiteDelegate* delegate) { return static_cast<Delegate*>(delegate->data_); }

// No exception may cross into the host, which was compiled without them.
template <typename Function>
TfLiteStatus Guarded(TfLiteContext* context, Function function) {
  try {
    return function();
  } catch (const std::exception& error) {
    context->ReportError(context, "tf_prune_ofa: %s", error.what());
    return kTfLiteError;
  }
}

// ---- A partition, as the host calls it

void* InitPartition(TfLiteContext* context, const char* buffer, size_t /*length*/) {
  Partition* partition = nullptr;
  Guarded(context, [&] {
    const auto* params = reinterpret_cast<const TfLiteDelegateParams*>(buffer);
    Delegate* delegate = Of(params->delegate);
    std::vector<ClaimedNode> nodes;
    for (int i = 0; i < params->nodes_to_replace->size; ++i) {
      nodes.push_back(delegate->claims.nodes.at(params->nodes_to_replace->data[i]));
    }
    partition =
        new Partition(std::move(nodes), *params->output_tensors,
                      delegate->claims.leaves_out_masked, delegate->workspace.get());
    return kTfLiteOk;
  });
  return partition;
}

void FreePartition(TfLiteContext* /*context*/, void* user_data) {
  delete static_cast<Partition*>(user_data);
}

TfLiteStatus PreparePartition(TfLiteContext* context, TfLiteNode* node) {
  auto* partition = static_cast<Partition*>(node->user_data);
  if (partition == nullptr) return kTfLiteError;
  return Guarded(context, [&] { return partition->Prepare(context); });
}

TfLiteStatus InvokePartition(TfLiteContext* context, TfLiteNode* node) {
  auto* partition = static_cast<Partition*>(node->user_data);
  if (partition == nullptr) return kTfLiteError;
  return Guarded(context, [&] { return partition->Invoke(context); });
}

// ---- The delegate

std::string Report(const Delegate& delegate) {
  std::string report = std::string("kernels ") + delegate.options.claim.kernels->name + ", threads " +
                       std::to_string(delegate.options.claim.threads) + ", costs " +
                       delegate.options.claim.costs.origin + "\n";
  const Claims& claims = delegate.claims;
  if (claims.attentions + claims.normalizations + claims.tables > 0) {
    report += "with " + std::to_string(claims.attentions) + " attentions, " +
              std::to_string(claims.normalizations) + " normalizations, " +
              std::to_string(claims.tables) + " tables, " +
              (claims.leaves_out_masked ? "live tokens alone" : "all tokens") + "\n";
  }
  for (const Verdict& verdict : claims.verdicts) {
    report += std::string(verdict.is_claimed ? "taken " : "left ") + std::to_string(verdict.node) +
              " " + (verdict.name.empty() ? "?" : verdict.name) + ": " + verdict.reason + "\n";
  }
  return report;
}

std::string Unmeasured(const Claims& claims) {
  std::string lines;
  for (const LayerShape& shape : claims.unmeasured) {
    lines += shape.arithmetic == Arithmetic::kStatic ? "static" : "dynamic";
    for (const int size : {shape.threads, shape.rows, shape.columns, shape.tokens}) {
      lines += " " + std::to_string(size);
    }
    lines += "\n";
  }
  return lines;
}

TfLiteStatus PrepareGraph(TfLiteContext* context, Delegate* delegate) {
  ClaimSettings& claim = delegate->options.claim;
  if (delegate->workspace == nullptr) {
    claim.threads = delegate->options.threads;
    if (claim.threads == 0) {
      claim.threads = std::clamp(context->recommended_num_threads, 1, kMostThreads);
    }
  }
  delegate->claims = FindClaims(context, claim);
  delegate->report = Report(*delegate);
  delegate->unmeasured = Unmeasured(delegate->claims);
  if (delegate->options.is_verbose) std::fputs(delegate->report.c_str(), stderr);
  if (delegate->claims.nodes.empty()) return kTfLiteOk;
  // Threads only where there is something for them to do.
  if (delegate->workspace == nullptr) {
    delegate->workspace = std::make_unique<Workspace>(*claim.kernels, claim.threads);
  }

  std::vector<int> nodes = {static_cast<int>(delegate->claims.nodes.size())};
  for (const auto& [node, claimed] : delegate->claims.nodes) nodes.push_back(node);
  TfLiteRegistration registration;
  std::memset(&registration, 0, sizeof(registration));
  registration.init = InitPartition;
  registration.free = FreePartition;
  registration.prepare = PreparePartition;
  registration.invoke = InvokePartition;
  registration.builtin_code = kTfLiteBuiltinDelegate;
  registration.custom_name = "TfPruneOfaSparse";
  registration.version = 1;
  const TfLiteStatus status = context->ReplaceNodeSubsetsWithDelegateKernels(
      context, registration, reinterpret_cast<const TfLiteIntArray*>(nodes.data()), &delegate->base);
  // The partitions hold what they need.
  delegate->claims = {};
  return status;
}

TfLiteStatus PrepareDelegate(TfLiteContext* context, TfLiteDelegate* delegate) {
  return Guarded(context, [&] { return PrepareGraph(context, Of(delegate)); });
}

}  // namespace
}  // namespace tf_prune_ofa

// Returns a delegate, or null after telling `report_error` what is wrong.
TF_PRUNE_OFA_EXPORT TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* options_keys, const char* const* options_values, size_t num_options,
    void (*report_error)(const char*)) {
  using tf_prune_ofa::Delegate;
  std::string message;
  try {
    auto delegate = std::make_unique<Delegate>();
    message = tf_prune_ofa::ParseOptions(options_keys, options_values, num_options,
                                         &delegate->options);
    if (message.empty()) {
      std::memset(&delegate->base, 0, sizeof(delegate->base));
      delegate->base.data_ = delegate.get();
      delegate->base.Prepare = tf_prune_ofa::PrepareDelegate;
      // Otherwise a host refuses the delegate where any tensor of the graph has no fixed size.
      delegate->base.flags = kTfLiteDelegateFlagsAllowDynamicTensors;
      return &delegate.release()->base;
    }
  } catch (const std::exception& error) {
    message = error.what();
  }
  if (report_error != nullptr) report_error(("tf_prune_ofa: " + message).c_str());
  return nullptr;
}

TF_PRUNE_OFA_EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
  if (delegate != nullptr) delete tf_prune_ofa::Of(delegate);
}

// What became of the last graph's INT8 layers: a line "kernels SET, threads N, costs WHICH", then one
// for each layer, "taken NODE NAME: WHY" or "left NODE NAME: WHY". Belongs to the delegate, until its
// next graph.
TF_PRUNE_OFA_EXPORT const char* tf_prune_ofa_report(const TfLiteDelegate* delegate) {
  return delegate == nullptr ? ""
                             : static_cast<const tf_prune_ofa::Delegate*>(delegate->data_)->report.c_str();
}

// Layers of the last graph whose times nobody measured here, and that might gain: lines
// "static|dynamic THREADS ROWS COLUMNS TOKENS". Belongs to the delegate as the report does.
TF_PRUNE_OFA_EXPORT const char* tf_prune_ofa_unmeasured(const TfLiteDelegate* delegate) {
  return delegate == nullptr
             ? ""
             : static_cast<const tf_prune_ofa::Delegate*>(delegate->data_)->unmeasured.c_str();
}

// "PROCESSOR KERNELS TILE": what costs are kept under, the best instruction set here, and its tile of
// columns where none is chosen.
TF_PRUNE_OFA_EXPORT const char* tf_prune_ofa_processor() {
  static const std::string text = [] {
    const tf_prune_ofa::Kernels& kernels = *tf_prune_ofa::FindKernels(nullptr);
    return tf_prune_ofa::ThisProcessor().name + " " + kernels.name + " " +
           std::to_string(kernels.tile_columns);
  }();
  return text.c_str();
}
