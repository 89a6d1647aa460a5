#include "layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace tf_prune_ofa {
namespace {

constexpr size_t kAlignment = 64;

// Most rows that one thread takes at a time. Many, because each tile of activations is read from the
// second-level cache once for all of them, and because an output is written in long pieces; their
// sums and weights have to stay in that cache.
constexpr int kItemRows = 4 * kRowBlock;

int RoundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

int Tiles(const Kernels& kernels, int tokens) {
  return (tokens + kernels.tokens - 1) / kernels.tokens;
}

// As XNNPACK quantizes the limits of an activation.
int32_t Quantized(float value, float scale, int32_t zero_point) {
  const float place = value / scale + static_cast<float>(zero_point);
  return static_cast<int32_t>(std::nearbyintf(std::min(std::max(place, -128.0f), 127.0f)));
}

}  // namespace

void Buffer::Reserve(size_t bytes) {
  if (storage_.size() >= bytes + kAlignment) return;
  storage_.assign(bytes + kAlignment, 0);
  const uintptr_t address = reinterpret_cast<uintptr_t>(storage_.data());
  begin_ = storage_.data() + (kAlignment - address % kAlignment) % kAlignment;
}

void PackedActivations::Reserve(const Kernels& kernels, int tokens, int columns, int threads) {
  const size_t padded = RoundUp(columns, 4);
  const size_t tile_rows = kernels.tokens;
  packed_.Reserve(Tiles(kernels, tokens) * padded * tile_rows * kernels.sample_bytes);
  rows_.resize(std::max(rows_.size(), static_cast<size_t>(threads)));
  for (Buffer& rows : rows_) rows.Reserve(padded * tile_rows);
  const size_t all = Tiles(kernels, tokens) * tile_rows;
  zero_points_.resize(std::max(zero_points_.size(), all));
  scales_.resize(std::max(scales_.size(), all));
}

void PackedActivations::SetSize(const Kernels& kernels, int tokens, int columns) {
  tokens_ = tokens;
  tile_bytes_ = static_cast<size_t>(RoundUp(columns, 4)) * kernels.tokens * kernels.sample_bytes;
}

void PackedActivations::PackStatic(const Kernels& kernels, Layout layout, const int8_t* input,
                                   int tokens, int columns, ThreadPool* pool) {
  SetSize(kernels, tokens, columns);
  const int padded = RoundUp(columns, 4);
  pool->ForEach(Tiles(kernels, tokens), [&](int thread, int tile) {
    const int begin = tile * kernels.tokens;
    const int live = std::min(kernels.tokens, tokens - begin);
    const int8_t* values = input + static_cast<ptrdiff_t>(begin) * columns;
    if (padded != columns) {
      int8_t* rows = reinterpret_cast<int8_t*>(rows_[thread].get());
      for (int t = 0; t < live; ++t) {
        std::memcpy(rows + static_cast<ptrdiff_t>(t) * padded,
                    values + static_cast<ptrdiff_t>(t) * columns, columns);
      }
      values = rows;
    }
    kernels.pack(layout, values, padded, live, padded, packed_.get() + tile * tile_bytes_);
  });
}

void PackedActivations::PackDynamic(const Kernels& kernels, Layout layout, const float* input,
                                    int tokens, int columns, ThreadPool* pool) {
  SetSize(kernels, tokens, columns);
  const int padded = RoundUp(columns, 4);
  pool->ForEach(Tiles(kernels, tokens), [&](int thread, int tile) {
    const int begin = tile * kernels.tokens;
    const int live = std::min(kernels.tokens, tokens - begin);
    int8_t* rows = reinterpret_cast<int8_t*>(rows_[thread].get());
    for (int t = 0; t < live; ++t) {
      const RowQuantization row =
          kernels.quantize(input + static_cast<ptrdiff_t>(begin + t) * columns, columns,
                           rows + static_cast<ptrdiff_t>(t) * padded);
      zero_points_[begin + t] = row.zero_point;
      scales_[begin + t] = row.scale;
    }
    kernels.pack(layout, rows, padded, live, padded, packed_.get() + tile * tile_bytes_);
  });
}

void Sums::Reserve(const Kernels& kernels, int threads) {
  buffers_.resize(std::max(buffers_.size(), static_cast<size_t>(threads)));
  for (Buffer& buffer : buffers_) {
    // Sums, and behind them requantized ones.
    buffer.Reserve((sizeof(int32_t) + 1) * kItemRows * kernels.tokens);
  }
}

Layer::Layer(const Kernels& kernels, PackedWeights weights, LayerParameters parameters)
    : kernels_(kernels), weights_(std::move(weights)), parameters_(std::move(parameters)) {
  if (parameters_.arithmetic == Arithmetic::kDynamic) return;
  const LayerParameters& p = parameters_;
  for (int n = 0; n < weights_.rows; ++n) {
    // Sums wrap as the processor's do.
    const uint32_t zero = static_cast<uint32_t>(p.input_zero_point + kernels.unsigned_offset);
    starts_.push_back(static_cast<int32_t>(static_cast<uint32_t>(p.integer_bias[n]) -
                                           zero * static_cast<uint32_t>(weights_.row_sums[n])));
    requantization_.push_back(p.input_scale * p.weight_scales[n] / p.output_scale);
  }
  quantized_minimum_ = Quantized(p.minimum, p.output_scale, p.output_zero_point);
  quantized_maximum_ = Quantized(p.maximum, p.output_scale, p.output_zero_point);
}

void Layer::Run(const PackedActivations& activations, void* output, const Sums& sums,
                ThreadPool* pool) const {
  const int token_tiles = Tiles(kernels_, activations.tokens());
  // Enough items that no thread is left waiting for long, in whole blocks.
  const int wanted = pool->threads() == 1 ? 1 : (4 * pool->threads() + token_tiles - 1) / token_tiles;
  const int item_rows =
      std::min(kItemRows, RoundUp((weights_.rows + wanted - 1) / wanted, kRowBlock));
  const int items = (weights_.rows + item_rows - 1) / item_rows;
  // All tokens for the same rows, one tile after the other: their weights are still in the cache.
  pool->ForEach(token_tiles * items, [&](int thread, int item) {
    const int begin = item / token_tiles * item_rows;
    RunItem(activations, output, sums.of(thread), item % token_tiles, begin,
            std::min(begin + item_rows, weights_.rows));
  });
}

void Layer::RunItem(const PackedActivations& activations, void* output, int32_t* sums,
                    int token_tile, int row_begin, int row_end) const {
  const int token_begin = token_tile * kernels_.tokens;
  const int tokens = std::min(kernels_.tokens, activations.tokens() - token_begin);
  const ptrdiff_t place = static_cast<ptrdiff_t>(token_begin) * weights_.rows;
  const bool is_static = parameters_.arithmetic == Arithmetic::kStatic;
  int8_t* bytes = reinterpret_cast<int8_t*>(sums + ptrdiff_t{kItemRows} * kernels_.tokens);
  FinishInt8Args finish_int8 = {};
  if (is_static) {
    finish_int8.sums = sums;
    finish_int8.bytes = bytes;
    finish_int8.row_begin = row_begin;
    finish_int8.row_end = row_end;
    finish_int8.tokens = tokens;
    finish_int8.starts = starts_.data();
    finish_int8.scales = requantization_.data();
    finish_int8.zero_point = parameters_.output_zero_point;
    finish_int8.minimum = quantized_minimum_;
    finish_int8.maximum = quantized_maximum_;
    finish_int8.out = static_cast<int8_t*>(output) + place;
    finish_int8.out_stride = weights_.rows;
  }

  AccumulateArgs accumulate = {};
  accumulate.layout = weights_.layout;
  accumulate.offsets = weights_.offsets.data();
  accumulate.weights = weights_.weights.data();
  accumulate.row_begin = row_begin;
  accumulate.row_end = row_end;
  accumulate.tokens = tokens;
  accumulate.sums = sums;
  accumulate.bytes = bytes;
  const int width = tokens <= kernels_.narrow_tokens ? kernels_.narrow_tokens : kernels_.tokens;
  const size_t tile_bytes =
      static_cast<size_t>(weights_.tile_columns) * width * kernels_.sample_bytes;
  for (int tile = 0; tile < weights_.tiles; ++tile) {
    accumulate.order = weights_.orders.data() + static_cast<size_t>(tile) * weights_.rows;
    accumulate.starts = weights_.starts.data() + static_cast<size_t>(tile) * (weights_.rows + 1);
    accumulate.activations = activations.tile(token_tile) + tile * tile_bytes;
    accumulate.add = tile > 0;
    if (is_static && kernels_.requantizes_rows && tile + 1 == weights_.tiles) {
      accumulate.finish = &finish_int8;
    }
    kernels_.accumulate(accumulate);
  }
  if (is_static) {
    kernels_.finish_int8(finish_int8);
    return;
  }

  FinishFloatArgs finish = {};
  finish.sums = sums;
  finish.row_begin = row_begin;
  finish.row_end = row_end;
  finish.tokens = tokens;
  finish.row_sums = weights_.row_sums.data();
  finish.zero_points = activations.zero_points() + token_begin;
  finish.input_scales = activations.scales() + token_begin;
  finish.scales = parameters_.weight_scales.data();
  finish.bias = parameters_.float_bias.data();
  finish.minimum = parameters_.minimum;
  finish.maximum = parameters_.maximum;
  finish.out = static_cast<float*>(output) + place;
  finish.out_stride = weights_.rows;
  kernels_.finish_float(finish);
}

}  // namespace tf_prune_ofa
