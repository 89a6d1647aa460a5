#include "cost.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include "pack_weights.h"

namespace tf_prune_ofa {
namespace {

struct ShippedCosts {
  const char* kernels;
  const char* family;  // null: any other
  Costs costs;
  const char* how;
};

// docs/experiments/delegate.md says how each was found. What was not measured errs on the slow side.
constexpr ShippedCosts kShipped[] = {
    {"avx512vnni", "zen5", {5.6f, 8.1f, 50.0f, 500000.0f}, "measured"},
    {"avx512vnni", "zen4", {4.8f, 8.0f, 80.0f, 500000.0f}, "measured"},
    {"avx512vnni", nullptr, {10.0f, 18.0f, 90.0f, 1000000.0f}, "modelled"},
    {"avx512vnni_shifts", nullptr, {10.0f, 16.0f, 90.0f, 1000000.0f}, "modelled"},
    {"avxvnni", nullptr, {8.4f, 11.6f, 78.0f, 1000000.0f}, "estimated"},
    {"avx2", "zen3", {3.8f, 6.5f, 85.0f, 500000.0f}, "measured"},
    {"avx2", nullptr, {8.3f, 10.5f, 68.0f, 1000000.0f}, "estimated"},
    // The slowest of four modelled cores, native/bench/models.
    {"i8mm", nullptr, {12.2f, 31.0f, 40.0f, 500000.0f}, "modelled"},
    {"neondot", nullptr, {9.1f, 21.5f, 25.0f, 500000.0f}, "modelled"},
    // Counted instructions under emulation, against a dense loop of the same instructions.
    {"neon", nullptr, {6.0f, 6.2f, 25.0f, 500000.0f}, "counted"},
};

void FindShipped(const Kernels& kernels, const Processor& processor, CostTable* table) {
  // The runtime's dense layers take the best there is, whatever we were told to take.
  if (processor.has_matrix_unit || &kernels != FindKernels(nullptr)) {
    table->origin = std::string("none for ") + kernels.name + " on " + processor.family +
                    ": nothing is taken until they are measured";
    return;
  }
  for (const ShippedCosts& shipped : kShipped) {
    if (std::strcmp(shipped.kernels, kernels.name) != 0 ||
        (shipped.family != nullptr && processor.family != shipped.family)) {
      continue;
    }
    table->has_costs = true;
    table->costs = shipped.costs;
    table->origin = std::string("shipped for ") +
                    (shipped.family == nullptr ? "any processor" : shipped.family) + ", " +
                    shipped.how;
    return;
  }
  table->origin = std::string("none for ") + kernels.name;
}

bool IsTime(double value) { return std::isfinite(value) && value >= 0; }

// What stands behind "layer". False if it is malformed.
bool ReadLayer(std::istringstream* fields, const Kernels& kernels, std::string* kernels_name,
               MeasuredTimes* times) {
  std::string arithmetic, rest;
  LayerShape& shape = times->shape;
  if (!(*fields >> *kernels_name >> arithmetic >> shape.threads >> shape.rows >> shape.columns >>
        shape.tokens >> times->tile_columns >> times->dense >> times->fixed[0] >>
        times->entry[0] >> times->fixed[1] >> times->entry[1]) ||
      *fields >> rest) {
    return false;
  }
  if (arithmetic != "static" && arithmetic != "dynamic") return false;
  shape.arithmetic = arithmetic == "static" ? Arithmetic::kStatic : Arithmetic::kDynamic;
  if (*kernels_name == kernels.name && times->tile_columns > LargestTile(kernels)) return false;
  return shape.threads > 0 && shape.rows > 0 && shape.columns > 0 && shape.tokens > 0 &&
         times->tile_columns > 0 && times->tile_columns % 4 == 0 && IsTime(times->dense) &&
         times->dense > 0 && IsTime(times->fixed[0]) && IsTime(times->entry[0]) &&
         IsTime(times->fixed[1]) && IsTime(times->entry[1]);
}

struct Candidate {
  int tile_columns;
  const MeasuredTimes* times;  // null: by costs
};

}  // namespace

int LargestTile(const Kernels& kernels) {
  return (1 << 16) / (kernels.tokens * kernels.sample_bytes) / 4 * 4;
}

bool ReadCosts(const Kernels& kernels, const Processor& processor, const std::string& file,
               CostTable* table, std::string* message) {
  FindShipped(kernels, processor, table);
  if (file.empty()) return true;
  struct stat status;
  std::ifstream stream(file);
  if (!stream || stat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    *message = "cannot read the cost table " + file;
    return false;
  }
  std::string line, owner;
  while (std::getline(stream, line)) {
    std::istringstream fields(line.substr(0, line.find('#')));
    std::string name, rest;
    if (!(fields >> name) || name == "runtime") continue;
    bool is_sound;
    if (name == "processor") {
      is_sound = static_cast<bool>(fields >> owner) && !(fields >> rest);
      if (owner == processor.name) {
        table->is_measured = true;
        table->origin = "measured";
      } else if (!table->is_measured) {
        table->origin += ", as the table is of another processor";
      }
    } else if (name == "layer") {
      MeasuredTimes times;
      std::string set;
      is_sound = !owner.empty() && ReadLayer(&fields, kernels, &set, &times);
      if (is_sound && owner == processor.name && set == kernels.name) {
        table->measured.push_back(times);
      }
    } else {
      Costs read;
      is_sound = fields >> read.group >> read.column >> read.row >> read.layer && read.group > 0 &&
                 read.column > 0 && read.row >= 0 && read.layer >= 0;
      if (is_sound && name == kernels.name) {
        table->has_costs = true;
        table->costs = read;
        table->origin = "of the table";
      }
    }
    if (!is_sound) {
      *message = "in the cost table " + file + ", a malformed line: " + line;
      return false;
    }
  }
  if (stream.bad()) {
    *message = "cannot read the cost table " + file;
    return false;
  }
  return true;
}

Choice ChooseForm(const CostTable& table, const ChoiceLimits& limits, const Kernels& kernels,
                  const LayerShape& shape, const int8_t* dense) {
  std::vector<Candidate> candidates;
  for (const MeasuredTimes& times : table.measured) {
    if (times.shape == shape && (limits.tile_columns == 0 || limits.tile_columns == times.tile_columns)) {
      candidates.push_back({times.tile_columns, &times});
    }
  }
  const bool is_by_costs = candidates.empty();
  if (is_by_costs) {
    // Half as much again as the first-level cache was best where it is 32 KiB; see the docs.
    const int cached = ThisProcessor().cache_bytes / 2 * 3 / (kernels.tokens * kernels.sample_bytes);
    const int largest = limits.tile_columns != 0
                            ? limits.tile_columns
                            : std::min(kernels.tile_columns, std::max(64, cached / 4 * 4));
    candidates.push_back({ChooseTileColumns(shape.columns, largest), nullptr});
  }
  // Without any costs those of the dot products do, to choose a layout where one has to be.
  const Costs costs = table.has_costs ? table.costs : Costs{5.6f, 8.1f, 50.0f, 500000.0f};
  // A tile is computed whole, however many of its tokens there are.
  const double padded =
      double((shape.tokens + kernels.tokens - 1) / kernels.tokens) * kernels.tokens;
  const double products = double(shape.rows) * shape.columns * shape.tokens;

  Choice best;
  best.ratio = std::numeric_limits<double>::infinity();
  best.is_known = is_by_costs ? table.has_costs && !table.is_measured : true;
  for (const Candidate& candidate : candidates) {
    const EntryCounts counts =
        CountEntries(dense, shape.rows, shape.columns, candidate.tile_columns);
    for (const Layout layout : {Layout::kGroups, Layout::kColumns}) {
      if (layout == Layout::kColumns && !kernels.has_columns) continue;
      if (limits.has_layout && layout != limits.layout) continue;
      const double entries = layout == Layout::kGroups ? counts.groups : counts.columns;
      double ratio;
      if (candidate.times != nullptr) {
        const int i = static_cast<int>(layout);
        ratio = (candidate.times->fixed[i] + candidate.times->entry[i] * entries) /
                candidate.times->dense;
      } else {
        const double entry = layout == Layout::kGroups ? costs.group : costs.column;
        ratio = (padded * (entry * entries + costs.row * shape.rows * counts.tiles) + costs.layer) /
                products;
      }
      if (ratio < best.ratio || best.tile_columns == 0) {
        best.layout = layout;
        best.tile_columns = candidate.tile_columns;
        best.ratio = ratio;
      }
    }
  }
  return best;
}

}  // namespace tf_prune_ofa
