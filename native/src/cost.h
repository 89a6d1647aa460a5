// Whether a layer is faster here than dense.
//
// Times measured on this machine decide where there are any, layer shape by layer shape. Without them
// shipped costs of the processor's family do, and where there are none, nothing is taken.
#ifndef TF_PRUNE_OFA_COST_H_
#define TF_PRUNE_OFA_COST_H_

#include <string>
#include <vector>

#include "kernel.h"
#include "layer.h"
#include "processor.h"

namespace tf_prune_ofa {

// Times of one token, in dense products of the runtime: how many multiplications of a dense layer
// take as long. The runtime's speed is part of it, so it belongs to a machine.
struct Costs {
  float group;   // an entry of Layout::kGroups
  float column;  // an entry of Layout::kColumns
  float row;     // a row of one tile of columns: its sums are read and written
  float layer;   // the whole layer once, for all tokens: what a further partition costs
};

// What the time of a dense layer depends on.
struct LayerShape {
  Arithmetic arithmetic;
  int threads, rows, columns, tokens;

  bool operator==(const LayerShape& other) const {
    return arithmetic == other.arithmetic && threads == other.threads && rows == other.rows &&
           columns == other.columns && tokens == other.tokens;
  }
};

// Microseconds of one layer in a real file: of the runtime's dense one, and of ours in tiles of
// `tile_columns`, by Layout: `fixed` + `entry` * entries of the layer.
struct MeasuredTimes {
  LayerShape shape;
  int tile_columns;
  double dense;
  double fixed[2], entry[2];
};

struct CostTable {
  bool has_costs = false;
  Costs costs = {};
  // Measured here: then shapes that are not in it are left to the runtime.
  bool is_measured = false;
  std::vector<MeasuredTimes> measured;
  std::string origin;  // in a few words, for the report
};

// The table of one instruction set: shipped costs, and what `file` (may be empty) has. Its lines, in
// which # begins a comment:
//   <set> <group> <column> <row> <layer>                                    costs instead of ours
//   processor <name>       whose layers follow; those of others are passed over, as the origin says
//   runtime <name> <version>                                                for whoever made the file
//   layer <set> static|dynamic <threads> <rows> <columns> <tokens> <tile> <dense>
//         <fixed> <entry> of groups, <fixed> <entry> of columns, on one line
// Returns false, with a message, if the file cannot be read or a line is malformed.
bool ReadCosts(const Kernels& kernels, const Processor& processor, const std::string& file,
               CostTable* table, std::string* message);

// The largest tile of columns: 16-bit offsets reach no further.
int LargestTile(const Kernels& kernels);

struct ChoiceLimits {
  bool has_layout = false;  // only `layout`
  Layout layout = Layout::kGroups;
  int tile_columns = 0;     // only these, at most; 0: any
};

struct Choice {
  Layout layout = Layout::kGroups;
  int tile_columns = 0;
  double ratio = 0;  // expected time, 1 for dense; meaningless unless is_known
  bool is_known = false;
};

// The fastest form of a layer. `dense`: its weights, [rows][columns].
Choice ChooseForm(const CostTable& table, const ChoiceLimits& limits, const Kernels& kernels,
                  const LayerShape& shape, const int8_t* dense);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_COST_H_
