// What the kernels of one instruction set provide, and the data they share.
//
// A layer computes y[t][n] = sum over k of x[t][k] * w[n][k], in exact int32. N rows (outputs) · K
// columns (inputs) · T tokens. Tokens lie side by side in a vector register; a row's nonzero weights
// are walked one by one and each is multiplied with all tokens of a tile, so the pattern of zeros
// costs nothing but its own length.
#ifndef TF_PRUNE_OFA_KERNEL_H_
#define TF_PRUNE_OFA_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tf_prune_ofa {

// How weights are grouped in fours, the number of products that one dot-product instruction adds up.
enum class Layout : uint8_t {
  // Four neighbouring columns 4g..4g+3 of one row. Activations are packed as [K/4][tokens][4], so
  // nothing has to be moved at run time. Best where zeros come in 1x4 blocks.
  kGroups,
  // Any four nonzero columns of one row. Activations are packed as [K][tokens]; the kernel reads the
  // four columns and interleaves them into [tokens][4]. Best where zeros lie anywhere.
  kColumns,
};

constexpr int kRowBlock = 128;

// One layer's weights. K is cut into tiles of `tile_columns`, so that the activations of a tile and
// of Kernels::tokens tokens stay in the first-level cache.
//
// Within each block of kRowBlock rows, a tile has its rows in ascending order of their number of
// entries: the loop over a row's entries then ends after as many as for the row before, which the
// processor can foresee. Place p of tile i holds row orders[i * N + p], and entries e with
// starts[i * (N + 1) + p] <= e < starts[i * (N + 1) + p + 1].
//
// Entry e has four weights, weights[4e..4e+3], and the places of their activations in bytes from the
// tile's begin:
//   kGroups:  offsets[e]           = (column / 4 - first column of tile / 4) * group_bytes
//   kColumns: offsets[4e..4e+3]    = (column - first column of tile) * column_bytes
// Unused weights of an entry are 0, with the offset of some column of the tile. Entries of a row are
// in ascending order of columns.
struct PackedWeights {
  Layout layout = Layout::kGroups;
  int rows = 0;          // N
  int columns = 0;       // K, a multiple of 4 or rounded up to one
  int tile_columns = 0;  // a multiple of 4
  int tiles = 0;
  std::vector<uint16_t> orders;
  std::vector<uint32_t> starts;
  std::vector<uint16_t> offsets;
  std::vector<int8_t> weights;
  std::vector<int32_t> row_sums;  // [N], the sum of a row's weights
};

// Work of Kernels::accumulate: rows [row_begin, row_end), whole blocks of them, against one tile of
// columns and tokens. Places of these blocks are the same numbers as their rows.
// Pointers, not PackedWeights: a source file compiled for an instruction set must not instantiate
// templates of the standard library, or the linker may keep that copy for everyone.
struct AccumulateArgs {
  Layout layout;
  const uint16_t* order;        // of this tile of columns: PackedWeights::orders + tile * N
  const uint32_t* starts;       // of this tile of columns: PackedWeights::starts + tile * (N + 1)
  const uint16_t* offsets;      // PackedWeights::offsets, all of it
  const int8_t* weights;        // PackedWeights::weights, all of it
  int row_begin, row_end;
  int tokens;                   // live ones of the tile
  const uint8_t* activations;   // this tile's, from Kernels::pack; 64-byte aligned
  // [rows of the call][Kernels::tokens], 64-byte aligned; the first is that of row_begin. The sums of
  // place p go to row order[p] - row_begin.
  int32_t* sums;
  // Add to `sums` if true; otherwise start from 0.
  bool add;
  // Not null in the last tile of a static layer, if Kernels::requantizes_rows: what finish_int8 will
  // be called with. Sums then end as `bytes` instead, [rows of the call][Kernels::tokens].
  const struct FinishInt8Args* finish;
  int8_t* bytes;
};

// Work of Kernels::finish_float (dynamic range): out[t][n] =
//   clamp(fma(float(sums[n][t] - (zero_points[t] + unsigned_offset) * row_sum[n]) * input_scales[t],
//             scales[n], bias[n]))
// where fma rounds once, as XNNPACK's kernels do. Bit for bit. But see Kernels::rounds_as_kleidiai.
struct FinishFloatArgs {
  const int32_t* sums;          // [rows][Kernels::tokens]
  int row_begin, row_end;       // of the layer
  int tokens;                   // live ones of the tile
  const int32_t* row_sums;      // [N]
  const int32_t* zero_points;   // [Kernels::tokens], padded with anything readable
  const float* input_scales;    // [Kernels::tokens], likewise
  const float* scales;          // [N], of weights
  const float* bias;            // [N]
  float minimum, maximum;       // of the fused activation
  float* out;                   // out[t * out_stride + n], t = 0 the tile's first token, n of the layer
  ptrdiff_t out_stride;
};

// Work of Kernels::finish_int8 (static): out[t][n] = requantized sums[n][t] + start[n].
// As XNNPACK's fp32 requantization: float(sum) * scale[n], held at most at maximum - zero_point,
// rounded to nearest even, + zero_point, saturated to int16 then int8, held at least at minimum.
struct FinishInt8Args {
  const int32_t* sums;          // [rows][Kernels::tokens]
  const int8_t* bytes;          // instead, if Kernels::requantizes_rows; see AccumulateArgs
  int row_begin, row_end;
  int tokens;
  const int32_t* starts;        // [N]: bias - (input zero point + unsigned_offset) * row_sum
  const float* scales;          // [N]: input scale * weight scale / output scale
  int32_t zero_point;           // of the output
  int32_t minimum, maximum;     // of the output, quantized
  int8_t* out;                  // out[t * out_stride + n]
  ptrdiff_t out_stride;
};

// Asymmetric INT8 of one token, as XNNPACK's qd8: x ~ (q - zero_point) * scale. Bit for bit:
//   low = min(0, min x), high = max(0, max x), s = low == high ? 1 : 255 / (high - low)   (floats)
//   z = (-128 + low * s) + (127 + high * s) > 0 ? -128 - low * s : 127 - high * s
//   zero_point = rint(clamp(z, -128, 127)), scale = 1 / s
//   q = clamp(rint(min(x * s, 127 - zero_point)) + zero_point, -128, 127)
struct RowQuantization {
  int32_t zero_point;
  float scale;
};

struct EncoderKernels;

// The function table of one instruction set. All functions may be called from several threads.
struct Kernels {
  // "avx512vnni", "avx512vnni_shifts", "avxvnni", "avx2", "i8mm", "neondot", "neon" or "portable".
  const char* name;
  // Tokens side by side in one tile: rows of activations are packed so many at a time.
  int tokens;
  // Bytes of one packed activation; column_bytes = tokens * sample_bytes, group_bytes = 4 of these.
  int sample_bytes;
  // 128 where activations are packed as uint8 = int8 + 128 (dot products of unsigned by signed
  // numbers), else 0. Whoever finishes the sums subtracts unsigned_offset * row_sum.
  int32_t unsigned_offset;
  // Layouts it has.
  bool has_columns;
  // Largest tile of columns by layout that keeps to the first-level cache and to 16-bit offsets.
  int tile_columns;

  // Whether this machine runs it.
  bool (*is_supported)();
  // Quantizes K numbers of one token and returns how.
  RowQuantization (*quantize)(const float* values, int columns, int8_t* out);
  // Packs columns [0, columns) (a multiple of 4) of `live` <= tokens rows; missing rows may hold
  // anything afterwards. out: columns * tokens * sample_bytes bytes, 64-byte aligned.
  void (*pack)(Layout layout, const int8_t* values, ptrdiff_t stride, int live, int columns,
               uint8_t* out);
  void (*accumulate)(const AccumulateArgs& args);
  void (*finish_float)(const FinishFloatArgs& args);
  void (*finish_int8)(const FinishInt8Args& args);
  // Whether `accumulate` requantizes each row as it ends: fewer bytes go through the cache.
  bool requantizes_rows = false;
  // As the KleidiAI kernels do, which XNNPACK takes on aarch64 with dot products: finish_float computes
  // sum * (input_scale * scale) + bias, rounded after each step, and `quantize` rounds halves away
  // from zero.
  bool rounds_as_kleidiai = false;
  // A tile of at most so many live tokens, half of `tokens`, is packed half as wide, and offsets of
  // weights count half; rows of sums and of bytes keep their length. 0: tiles are always whole.
  int narrow_tokens = 0;
  // What it has for the operators between the layers; null: nothing.
  const EncoderKernels* encoder = nullptr;
};

// Each is in a source file of its own, compiled for its instruction set; null where that is not the
// processor family that the library is built for.
extern const Kernels kPortableKernels;
const Kernels* Avx2Kernels();
const Kernels* AvxVnniKernels();
const Kernels* Avx512VnniKernels();
// The same results; for processors where one unit alone shuffles.
const Kernels* Avx512VnniShiftKernels();
const Kernels* NeonKernels();
const Kernels* NeonDotKernels();
const Kernels* NeonI8mmKernels();

// Portable functions, for those that an instruction set does not speed up. `tokens` = Kernels::tokens.
RowQuantization QuantizePortable(const float* values, int columns, int8_t* out);
// The part of it behind the minimum and maximum; `multiplier` is s above.
RowQuantization ChooseQuantization(float minimum, float maximum, float* multiplier);
void FinishFloatPortable(const FinishFloatArgs& args, int tokens, int32_t unsigned_offset);
void FinishInt8Portable(const FinishInt8Args& args, int tokens);

// The fastest kernels that this machine runs, or those called `name` (null: the fastest). Null if
// there are none of that name or this machine does not run them.
const Kernels* FindKernels(const char* name);
// All that were built in, fastest first.
const std::vector<const Kernels*>& AllKernels();

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_KERNEL_H_
