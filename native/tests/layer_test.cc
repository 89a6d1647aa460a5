// Every instruction set that this machine runs, against plain loops, bit for bit.
//
//   layer_test [layers for each instruction set [seed]]
#include <cstring>
#include <map>
#include <string>

#include "check.h"
#include "kernel.h"
#include "layer.h"
#include "pack_weights.h"
#include "random_layer.h"

namespace tf_prune_ofa {
namespace {

// Packs activations once and runs the layer with them.
template <typename Number>
std::vector<Number> Run(const RandomLayer& layer, const Kernels& kernels, Layout layout,
                        int tile_columns, ThreadPool* pool) {
  const Layer ready(kernels,
                    PackWeights(layer.weights.data(), layer.rows, layer.columns, kernels, layout,
                                tile_columns),
                    layer.parameters);
  PackedActivations activations;
  activations.Reserve(kernels, layer.tokens, layer.columns, pool->threads());
  Sums sums;
  sums.Reserve(kernels, pool->threads());
  if (layer.is_static()) {
    activations.PackStatic(kernels, layout, layer.bytes.data(), layer.tokens, layer.columns, pool);
  } else {
    activations.PackDynamic(kernels, layout, layer.floats.data(), layer.tokens, layer.columns, pool);
  }
  std::vector<Number> out(static_cast<size_t>(layer.tokens) * layer.rows);
  ready.Run(activations, out.data(), sums, pool);
  return out;
}

template <typename Number>
void Compare(const std::vector<Number>& expected, const std::vector<Number>& got,
             const RandomLayer& layer, const Kernels& kernels, Layout layout, int seed) {
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(std::memcmp(&expected[i], &got[i], sizeof(Number)) == 0,
          "%s, layout %d, layer %d: %d x %d, %d tokens: at %zu %.9g, not %.9g", kernels.name,
          static_cast<int>(layout), seed, layer.rows, layer.columns, layer.tokens, i,
          static_cast<double>(got[i]), static_cast<double>(expected[i]));
  }
}

void TestLayers(int count, int seed) {
  std::map<std::string, int> tried;
  ThreadPool pools[] = {ThreadPool(1), ThreadPool(2), ThreadPool(5)};
  for (int i = seed; i < seed + count; ++i) {
    Random random(i);
    const RandomLayer layer = MakeLayer(&random);
    const std::vector<int8_t> bytes = layer.is_static() ? ExpectedBytes(layer) : std::vector<int8_t>();
    ThreadPool* pool = &pools[random.Int(0, 2)];
    for (const Kernels* kernels : AllKernels()) {
      if (!kernels->is_supported()) continue;
      for (const Layout layout : {Layout::kGroups, Layout::kColumns}) {
        if (layout == Layout::kColumns && !kernels->has_columns) continue;
        // As the delegate does, or in more tiles than need be.
        const int tile_columns = random.Chance(0.5)
                                     ? ChooseTileColumns(layer.columns, kernels->tile_columns)
                                     : 4 * random.Int(1, kernels->tile_columns / 4);
        if (layer.is_static()) {
          Compare(bytes, Run<int8_t>(layer, *kernels, layout, tile_columns, pool), layer, *kernels,
                  layout, i);
        } else {
          Compare(ExpectedFloats(layer, kernels->rounds_as_kleidiai),
                  Run<float>(layer, *kernels, layout, tile_columns, pool), layer, *kernels, layout,
                  i);
        }
        ++tried[kernels->name];
      }
    }
  }
  for (const auto& [name, times] : tried) std::printf("%s: %d layers\n", name.c_str(), times);
}

// Rows that a model should never have: no crash, and the same for all instruction sets.
void TestStrangeNumbers() {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> rows[] = {
      {0, 0, 0, 0, 0}, {1e-38f, -1e-38f, 0, 0, 0}, {3e38f, -3e38f, 1, 2, 3}, {5, 6, 7, 8, 9},
      {-5, -6, -7, -8, -9}, {1e-45f, 0, 0, 0, 0}, {infinity, 1, 2, 3, 4}, {-infinity, infinity, 0, 0, 0}};
  for (const std::vector<float>& row : rows) {
    int8_t expected[5];
    const RowQuantization a = QuantizePortable(row.data(), 5, expected);
    CHECK(a.zero_point >= -128 && a.zero_point <= 127, "%d", a.zero_point);
    for (const Kernels* kernels : AllKernels()) {
      if (!kernels->is_supported()) continue;
      int8_t got[5];
      const RowQuantization b = kernels->quantize(row.data(), 5, got);
      CHECK(a.zero_point == b.zero_point, "%s: %d, not %d", kernels->name, b.zero_point,
            a.zero_point);
      CHECK(std::memcmp(&a.scale, &b.scale, sizeof(float)) == 0, "%s: %g, not %g", kernels->name,
            b.scale, a.scale);
      // 0 times infinity is no number, and no two runtimes round it alike.
      if (std::isfinite(row[0])) {
        CHECK(std::memcmp(expected, got, 5) == 0, "%s: %g ... became %d ..., not %d ...",
              kernels->name, row[0], got[0], expected[0]);
      }
    }
  }
}

}  // namespace
}  // namespace tf_prune_ofa

int main(int argc, char** argv) {
  tf_prune_ofa::TestStrangeNumbers();
  tf_prune_ofa::TestLayers(argc > 1 ? std::atoi(argv[1]) : 300, argc > 2 ? std::atoi(argv[2]) : 0);
}
