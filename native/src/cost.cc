#include "cost.h"

#include <cstring>
#include <fstream>
#include <sstream>

namespace tf_prune_ofa {
namespace {

struct NamedCosts {
  const char* name;
  Costs costs;
};

// docs/experiments/delegate.md says how they were found.
constexpr NamedCosts kShipped[] = {
    {"avx512vnni", {5.6f, 8.1f, 50.0f, 500000.0f}},
    {"avxvnni", {5.6f, 7.7f, 52.0f, 500000.0f}},
    {"avx2", {5.5f, 7.0f, 45.0f, 500000.0f}},
    // Counted instructions under emulation, against a dense loop of the same instructions.
    {"i8mm", {10.6f, 27.6f, 25.0f, 500000.0f}},
    {"neondot", {5.3f, 13.8f, 25.0f, 500000.0f}},
    {"neon", {6.0f, 6.2f, 25.0f, 500000.0f}},
    // Twenty times slower than AVX2's: worth it for next to nothing but zeros.
    {"portable", {80.0f, 85.0f, 50.0f, 500000.0f}},
};

}  // namespace

bool FindCosts(const Kernels& kernels, const std::string& file, Costs* costs, std::string* message) {
  for (const NamedCosts& shipped : kShipped) {
    if (std::strcmp(shipped.name, kernels.name) == 0) *costs = shipped.costs;
  }
  if (file.empty()) return true;
  std::ifstream stream(file);
  if (!stream) {
    *message = "cannot read the cost table " + file;
    return false;
  }
  std::string line;
  while (std::getline(stream, line)) {
    std::istringstream fields(line.substr(0, line.find('#')));
    std::string name;
    if (!(fields >> name)) continue;
    Costs read;
    if (!(fields >> read.group >> read.column >> read.row >> read.layer) || !(read.group > 0) ||
        !(read.column > 0) || !(read.row >= 0) || !(read.layer >= 0)) {
      *message = "in the cost table " + file + ", not a name and four costs: " + line;
      return false;
    }
    if (name == kernels.name) *costs = read;
  }
  return true;
}

Choice ChooseLayout(const Costs& costs, const Kernels& kernels, const EntryCounts& counts, int rows,
                    int columns, int tokens) {
  // A tile is computed whole, however many of its tokens there are.
  const double padded = double((tokens + kernels.tokens - 1) / kernels.tokens) * kernels.tokens;
  const double dense = double(rows) * columns * tokens;
  const double fixed = padded * costs.row * rows * counts.tiles + costs.layer;
  const double groups = (padded * costs.group * counts.groups + fixed) / dense;
  const double by_column = (padded * costs.column * counts.columns + fixed) / dense;
  if (kernels.has_columns && by_column < groups) return {Layout::kColumns, by_column};
  return {Layout::kGroups, groups};
}

}  // namespace tf_prune_ofa
