// Times of one layer, by part, and how far the dot-product units are used.
//
//   layer_bench [instruction set [tokens [largest tile of columns]]]
//
// Random weights at BERT-Base's shapes. CPU time of this thread, the least of several runs: what the
// kernels can do, not what a busy machine does. One line for each case, in columns that roofline.py
// reads:
//   rows, columns, tokens, share of zeros, width of the blocks of zeros, layout, arithmetic,
//   microseconds to pack the activations, microseconds for the rest,
//   dot-product instructions issued (thousand), the same by clock cycle, useful products by cycle,
//   useful products by byte that comes from behind the first-level cache: weights, sums, activations.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench_layer.h"

namespace tf_prune_ofa {
namespace {

// Each of these operations waits for the one before. Products, because some processors fold chains of
// additions of constants: an x86 one takes three cycles for a product. (ARM's fold nothing.)
double CyclesPerMicrosecond() {
#if defined(__x86_64__)
  constexpr int kOperations = 2000000, kCycles = 3;
#else
  constexpr int kOperations = 4000000, kCycles = 1;
#endif
  return double{kOperations} * kCycles / Microseconds([] {
           uint64_t value = 3;
           for (int i = 0; i < kOperations / 8; ++i) {
#if defined(__x86_64__)
             __asm__ volatile("imul %0,%0\nimul %0,%0\nimul %0,%0\nimul %0,%0\n"
                              "imul %0,%0\nimul %0,%0\nimul %0,%0\nimul %0,%0" : "+r"(value));
#else
             __asm__ volatile("add %0,%0,#1\nadd %0,%0,#1\nadd %0,%0,#1\nadd %0,%0,#1\n"
                              "add %0,%0,#1\nadd %0,%0,#1\nadd %0,%0,#1\nadd %0,%0,#1" : "+r"(value));
#endif
           }
         });
}

// Products that one instruction adds up.
int ProductsOfDot(const Kernels& kernels) {
  if (std::strncmp(kernels.name, "avx512vnni", 10) == 0) return 64;
  if (std::strcmp(kernels.name, "avxvnni") == 0) return 32;
  return 16;
}

void Measure(const Kernels& kernels, double cycles_per_microsecond, int rows, int columns,
             int tokens, double zeros, int block, Layout layout, Arithmetic arithmetic) {
  BenchLayer layer(kernels, rows, columns, tokens, zeros, block, layout, arithmetic);
  const double pack = layer.PackMicroseconds();
  const double run = layer.RunMicroseconds();
  const double dots = layer.entries * tokens * 4 / ProductsOfDot(kernels);
  const double cycles = run * cycles_per_microsecond;
  // Sums are written and read once for each tile of columns, and read once to finish.
  const double token_tiles = (tokens + kernels.tokens - 1) / kernels.tokens;
  const double bytes_read = token_tiles * layer.weight_bytes + 8.0 * layer.tiles * rows * tokens +
                            static_cast<double>(tokens) * columns * kernels.sample_bytes;
  const double products = layer.nonzeros * tokens;
  std::printf("%d %d %d %.2f %d %s %s %.1f %.1f %.0f %.2f %.1f %.1f\n", rows, columns, tokens, zeros,
              block, layout == Layout::kGroups ? "groups" : "columns",
              arithmetic == Arithmetic::kDynamic ? "dynamic" : "static", pack, run, dots / 1e3,
              dots / cycles, products / cycles, products / bytes_read);
}

}  // namespace
}  // namespace tf_prune_ofa

int main(int argc, char** argv) {
  using namespace tf_prune_ofa;
  const Kernels* kernels = FindKernels(argc > 1 ? argv[1] : nullptr);
  if (kernels == nullptr) {
    std::fprintf(stderr, "no such kernels here\n");
    return 1;
  }
  const int tokens = argc > 2 ? std::atoi(argv[2]) : 128;
  Kernels tiled = *kernels;
  if (argc > 3) tiled.tile_columns = std::atoi(argv[3]);
  kernels = &tiled;
  const double cycles = CyclesPerMicrosecond();
  std::printf("# %s, %.2f GHz\n", kernels->name, cycles / 1000);
  std::printf("# rows columns tokens zeros block layout arithmetic pack_us run_us thousand_dots "
              "dots_per_cycle products_per_cycle products_per_byte\n");
  const int shapes[][2] = {{768, 768}, {3072, 768}, {768, 3072}};
  for (const auto& shape : shapes) {
    for (const Arithmetic arithmetic : {Arithmetic::kDynamic, Arithmetic::kStatic}) {
      const auto measure = [&](double zeros, int block, Layout layout) {
        Measure(*kernels, cycles, shape[0], shape[1], tokens, zeros, block, layout, arithmetic);
      };
      for (const double zeros : {0.8, 0.85, 0.9, 0.95}) measure(zeros, 1, Layout::kColumns);
      measure(0.9, 1, Layout::kGroups);
      for (const double zeros : {0.8, 0.9, 0.95}) measure(zeros, 4, Layout::kGroups);
    }
  }
}
