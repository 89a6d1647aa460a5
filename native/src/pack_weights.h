// Weights in the layout that the kernels read.
#ifndef TF_PRUNE_OFA_PACK_WEIGHTS_H_
#define TF_PRUNE_OFA_PACK_WEIGHTS_H_

#include "kernel.h"

namespace tf_prune_ofa {

// How many entries a layer has in each layout; what it costs.
struct EntryCounts {
  int64_t groups = 0;   // live groups of 1x4
  int64_t columns = 0;  // fours of any nonzero columns
  int tiles = 0;        // of columns
};

// Counts without packing. `dense`: int8 [rows][columns].
EntryCounts CountEntries(const int8_t* dense, int rows, int columns, int tile_columns);

// Packs for `kernels`. `tile_columns` (a multiple of 4) at most kernels.tile_columns.
PackedWeights PackWeights(const int8_t* dense, int rows, int columns, const Kernels& kernels,
                          Layout layout, int tile_columns);

// As equal tiles as possible, none above `largest`.
int ChooseTileColumns(int columns, int largest);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_PACK_WEIGHTS_H_
