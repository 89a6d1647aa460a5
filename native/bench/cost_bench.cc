// This machine's line of the delegate's cost table (src/cost.h).
//
//   cost_bench PRODUCTS_PER_NANOSECOND [instruction set]
//
// The number is the runtime's speed on dense layers, one thread: the products of a dense INT8 layer
// (outputs x inputs x tokens) by the nanoseconds that the layer takes there.
#include <cstdio>
#include <cstdlib>

#include "bench_layer.h"

namespace tf_prune_ofa {
namespace {

constexpr int kRows = 768, kColumns = 768, kTokens = 128;

struct Fit {
  double entry, row;  // microseconds of one token
};

// Two shares of zeros tell the cost of an entry from that of a row.
Fit FitLayout(const Kernels& kernels, Layout layout, int block) {
  double entries[2], microseconds[2];
  int tiles = 1;
  for (int i = 0; i < 2; ++i) {
    BenchLayer layer(kernels, kRows, kColumns, kTokens, i == 0 ? 0.8 : 0.95, block, layout,
                     Arithmetic::kStatic);
    layer.PackMicroseconds();
    entries[i] = layer.entries;
    microseconds[i] = layer.RunMicroseconds();
    tiles = layer.tiles;
  }
  const double entry = (microseconds[0] - microseconds[1]) / (entries[0] - entries[1]);
  const double rest = std::max(0.0, microseconds[1] - entry * entries[1]);
  return {entry / kTokens, rest / kTokens / kRows / tiles};
}

}  // namespace
}  // namespace tf_prune_ofa

int main(int argc, char** argv) {
  using namespace tf_prune_ofa;
  const double speed = argc > 1 ? std::atof(argv[1]) : 0;
  const Kernels* kernels = FindKernels(argc > 2 ? argv[2] : nullptr);
  if (!(speed > 0) || kernels == nullptr) {
    std::fprintf(stderr, "usage: cost_bench PRODUCTS_PER_NANOSECOND [instruction set]\n");
    return 1;
  }
  const Fit groups = FitLayout(*kernels, Layout::kGroups, 4);
  const Fit columns = FitLayout(*kernels, Layout::kColumns, 1);
  const double products_per_microsecond = 1000 * speed;
  // A further partition of the graph costs about a microsecond.
  std::printf("# set group column row layer, in products of the dense layer\n%s %.1f %.1f %.0f %.0f\n",
              kernels->name, groups.entry * products_per_microsecond,
              columns.entry * products_per_microsecond,
              std::max(groups.row, columns.row) * products_per_microsecond,
              products_per_microsecond);
}
