#include "pack_weights.h"

#include <algorithm>
#include <cstring>

namespace tf_prune_ofa {
namespace {

int RoundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Whole models pass through here when they are loaded: loops without branches, for the compiler to
// vectorize where it can.

int CountGroups(const int8_t* row, int columns, int begin, int end) {
  const int last = std::min(end, columns);
  int count = 0, k = begin;
  for (; k + 4 <= last; k += 4) {
    uint32_t four;
    std::memcpy(&four, row + k, sizeof(four));
    count += four != 0;
  }
  bool is_live = false;
  for (; k < last; ++k) is_live = is_live || row[k] != 0;
  return count + is_live;
}

int CountColumns(const int8_t* row, int columns, int begin, int end) {
  int nonzeros = 0;
  for (int k = begin; k < std::min(end, columns); ++k) nonzeros += row[k] != 0;
  return (nonzeros + 3) / 4;
}

void AppendGroups(const int8_t* row, int columns, int begin, int end, const Kernels& kernels,
                  PackedWeights* packed) {
  const int group_bytes = 4 * kernels.tokens * kernels.sample_bytes;
  for (int k = begin; k < end; k += 4) {
    int8_t four[4] = {};
    std::memcpy(four, row + k, static_cast<size_t>(std::min(4, columns - k)));
    if ((four[0] | four[1] | four[2] | four[3]) == 0) continue;
    packed->offsets.push_back(static_cast<uint16_t>((k - begin) / 4 * group_bytes));
    packed->weights.insert(packed->weights.end(), four, four + 4);
  }
}

void AppendColumns(const int8_t* row, int columns, int begin, int end, const Kernels& kernels,
                   std::vector<int>* nonzeros, PackedWeights* packed) {
  const int column_bytes = kernels.tokens * kernels.sample_bytes;
  nonzeros->resize(end - begin + 1);  // one more than there can be, for the last to be thrown away
  int count = 0;
  for (int k = begin; k < std::min(end, columns); ++k) {
    (*nonzeros)[count] = k;
    count += row[k] != 0;
  }
  for (int i = 0; i < count; ++i) {
    const int k = (*nonzeros)[i];
    packed->offsets.push_back(static_cast<uint16_t>((k - begin) * column_bytes));
    packed->weights.push_back(row[k]);
  }
  while (packed->weights.size() % 4 != 0) {
    // The last column again: it is in the cache.
    packed->offsets.push_back(packed->offsets.back());
    packed->weights.push_back(0);
  }
}

}  // namespace

int ChooseTileColumns(int columns, int largest) {
  const int tiles = (columns + largest - 1) / largest;
  return RoundUp((columns + tiles - 1) / tiles, 4);
}

EntryCounts CountEntries(const int8_t* dense, int rows, int columns, int tile_columns) {
  EntryCounts counts;
  counts.tiles = (columns + tile_columns - 1) / tile_columns;
  for (int n = 0; n < rows; ++n) {
    const int8_t* row = dense + static_cast<size_t>(n) * columns;
    for (int begin = 0; begin < columns; begin += tile_columns) {
      counts.groups += CountGroups(row, columns, begin, begin + tile_columns);
      counts.columns += CountColumns(row, columns, begin, begin + tile_columns);
    }
  }
  return counts;
}

PackedWeights PackWeights(const int8_t* dense, int rows, int columns, const Kernels& kernels,
                          Layout layout, int tile_columns) {
  PackedWeights packed;
  packed.layout = layout;
  packed.rows = rows;
  packed.columns = RoundUp(columns, 4);
  packed.tile_columns = tile_columns;
  packed.tiles = (columns + tile_columns - 1) / tile_columns;
  packed.row_sums.assign(rows, 0);
  packed.starts.reserve(static_cast<size_t>(packed.tiles) * (rows + 1));
  std::vector<int> counts(rows), nonzeros;
  for (int begin = 0; begin < columns; begin += tile_columns) {
    const int end = std::min(begin + tile_columns, packed.columns);
    for (int n = 0; n < rows; ++n) {
      const int8_t* row = dense + static_cast<size_t>(n) * columns;
      counts[n] = layout == Layout::kGroups ? CountGroups(row, columns, begin, end)
                                            : CountColumns(row, columns, begin, end);
    }
    const size_t first = packed.orders.size();
    for (int n = 0; n < rows; ++n) packed.orders.push_back(static_cast<uint16_t>(n));
    for (int n = 0; n < rows; n += kRowBlock) {
      const auto block = packed.orders.begin() + static_cast<ptrdiff_t>(first) + n;
      std::stable_sort(block, block + std::min(kRowBlock, rows - n),
                       [&](uint16_t a, uint16_t b) { return counts[a] < counts[b]; });
    }
    for (int place = 0; place < rows; ++place) {
      const int n = packed.orders[first + place];
      const int8_t* row = dense + static_cast<size_t>(n) * columns;
      packed.starts.push_back(static_cast<uint32_t>(packed.weights.size() / 4));
      if (layout == Layout::kGroups) {
        AppendGroups(row, columns, begin, end, kernels, &packed);
      } else {
        AppendColumns(row, columns, begin, end, kernels, &nonzeros, &packed);
      }
      for (int k = begin; k < std::min(end, columns); ++k) packed.row_sums[n] += row[k];
    }
    packed.starts.push_back(static_cast<uint32_t>(packed.weights.size() / 4));
  }
  packed.offsets.shrink_to_fit();
  packed.weights.shrink_to_fit();
  return packed;
}

}  // namespace tf_prune_ofa
