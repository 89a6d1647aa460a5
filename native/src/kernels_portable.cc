// Kernels in plain C++, for processors without others and as what the others are compared with.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernel.h"

namespace tf_prune_ofa {

RowQuantization ChooseQuantization(float minimum, float maximum, float* multiplier) {
  const float low = std::min(0.0f, minimum);
  const float high = std::max(0.0f, maximum);
  const float scale = low == high ? 1.0f : 255.0f / (high - low);
  const float scaled_low = low * scale;
  const float scaled_high = high * scale;
  const float error_of_low = -128.0f + scaled_low;
  const float error_of_high = 127.0f + scaled_high;
  float zero_point = error_of_low + error_of_high > 0 ? -128.0f - scaled_low : 127.0f - scaled_high;
  // Written so that a number that is none (infinite activations) becomes -128.
  zero_point = zero_point > -128.0f ? zero_point : -128.0f;
  zero_point = std::min(zero_point, 127.0f);
  *multiplier = scale;
  return {static_cast<int32_t>(std::nearbyintf(zero_point)), 1.0f / scale};
}

RowQuantization QuantizePortable(const float* values, int columns, int8_t* out) {
  float minimum = values[0], maximum = values[0];
  for (int k = 1; k < columns; ++k) {
    minimum = std::min(minimum, values[k]);
    maximum = std::max(maximum, values[k]);
  }
  float multiplier;
  const RowQuantization row = ChooseQuantization(minimum, maximum, &multiplier);
  const float largest = static_cast<float>(127 - row.zero_point);
  const float smallest = static_cast<float>(-128 - row.zero_point);
  for (int k = 0; k < columns; ++k) {
    const float scaled = values[k] * multiplier;
    // A value that is none compares false and becomes the largest, as with the minimum of SSE.
    const float upper = scaled < largest ? scaled : largest;
    const float held = upper > smallest ? upper : smallest;
    out[k] = static_cast<int8_t>(static_cast<int32_t>(std::nearbyintf(held)) + row.zero_point);
  }
  return row;
}

// Sums and their corrections may wrap, as they do in every runtime's kernels.
static int32_t Subtract(int32_t a, uint32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) - b);
}

void FinishFloatPortable(const FinishFloatArgs& args, int tokens, int32_t unsigned_offset) {
  for (int t = 0; t < args.tokens; ++t) {
    const uint32_t zero = static_cast<uint32_t>(args.zero_points[t] + unsigned_offset);
    const int32_t* sums = args.sums + t;
    float* out = args.out + t * args.out_stride;
    for (int n = args.row_begin; n < args.row_end; ++n, sums += tokens) {
      const int32_t sum = Subtract(*sums, zero * static_cast<uint32_t>(args.row_sums[n]));
      const float scaled = static_cast<float>(sum) * args.input_scales[t];
      const float value = std::fma(scaled, args.scales[n], args.bias[n]);
      out[n] = std::min(std::max(value, args.minimum), args.maximum);
    }
  }
}

void FinishInt8Portable(const FinishInt8Args& args, int tokens) {
  const float largest = static_cast<float>(args.maximum - args.zero_point);
  const float smallest = static_cast<float>(args.minimum - args.zero_point);
  for (int t = 0; t < args.tokens; ++t) {
    const int32_t* sums = args.sums + t;
    int8_t* out = args.out + t * args.out_stride;
    for (int n = args.row_begin; n < args.row_end; ++n, sums += tokens) {
      const int32_t sum = Subtract(*sums, 0u - static_cast<uint32_t>(args.starts[n]));
      const float scaled = static_cast<float>(sum) * args.scales[n];
      const float held = std::max(std::min(scaled, largest), smallest);
      out[n] = static_cast<int8_t>(static_cast<int32_t>(std::nearbyintf(held)) + args.zero_point);
    }
  }
}

namespace {

constexpr int kTokens = 16;

bool IsSupported() { return true; }

void Pack(Layout layout, const int8_t* values, ptrdiff_t stride, int live, int columns,
          uint8_t* out) {
  for (int t = 0; t < live; ++t) {
    for (int k = 0; k < columns; ++k) {
      const int place =
          layout == Layout::kColumns ? k * kTokens + t : (k / 4 * kTokens + t) * 4 + k % 4;
      out[place] = static_cast<uint8_t>(values[t * stride + k]);
    }
  }
}

template <bool kIsColumns>
void AccumulateRow(const AccumulateArgs& args, int place, int32_t* sums) {
  for (uint32_t e = args.starts[place]; e < args.starts[place + 1]; ++e) {
    for (int i = 0; i < 4; ++i) {
      const int32_t weight = args.weights[4 * e + i];
      if (kIsColumns) {
        const uint8_t* x = args.activations + args.offsets[4 * e + i];
        for (int t = 0; t < kTokens; ++t) sums[t] += weight * static_cast<int8_t>(x[t]);
      } else {
        const uint8_t* x = args.activations + args.offsets[e] + i;
        for (int t = 0; t < kTokens; ++t) sums[t] += weight * static_cast<int8_t>(x[4 * t]);
      }
    }
  }
}

void Accumulate(const AccumulateArgs& args) {
  for (int place = args.row_begin; place < args.row_end; ++place) {
    int32_t* sums = args.sums + (args.order[place] - args.row_begin) * kTokens;
    if (!args.add) std::memset(sums, 0, kTokens * sizeof(int32_t));
    if (args.layout == Layout::kColumns) {
      AccumulateRow<true>(args, place, sums);
    } else {
      AccumulateRow<false>(args, place, sums);
    }
  }
}

void FinishFloat(const FinishFloatArgs& args) { FinishFloatPortable(args, kTokens, 0); }
void FinishInt8(const FinishInt8Args& args) { FinishInt8Portable(args, kTokens); }

}  // namespace

const Kernels kPortableKernels = {
    "portable", kTokens, 1, 0, true, 1024, IsSupported, QuantizePortable, Pack, Accumulate,
    FinishFloat, FinishInt8,
};

}  // namespace tf_prune_ofa
