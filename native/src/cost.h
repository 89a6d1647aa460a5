// Whether a layer is faster here than dense.
#ifndef TF_PRUNE_OFA_COST_H_
#define TF_PRUNE_OFA_COST_H_

#include <string>

#include "kernel.h"
#include "pack_weights.h"

namespace tf_prune_ofa {

// Times of one token, in dense products of the runtime: how many multiplications of a dense layer
// take as long. The runtime's speed is part of it, so it belongs to a machine.
struct Costs {
  float group;   // an entry of Layout::kGroups
  float column;  // an entry of Layout::kColumns
  float row;     // a row of one tile of columns: its sums are read and written
  float layer;   // the whole layer once, for all tokens: what a further partition costs
};

// Costs of one instruction set: shipped ones, or from a file of lines
//   <instruction set> <group> <column> <row> <layer>
// where # begins a comment. Returns false, with a message, if the file cannot be read or a line is
// malformed; a file without that instruction set leaves the shipped ones.
bool FindCosts(const Kernels& kernels, const std::string& file, Costs* costs, std::string* message);

struct Choice {
  Layout layout;
  double ratio;  // expected time, 1 for dense
};

// The faster layout for `tokens` tokens.
Choice ChooseLayout(const Costs& costs, const Kernels& kernels, const EntryCounts& counts, int rows,
                    int columns, int tokens);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_COST_H_
