// What an instruction set provides for the operators between an encoder's layers.
//
// Float arithmetic is that of XNNPACK's kernels for the same instruction set, rounding by rounding:
// order of additions, no fused multiplication where it has none, its approximation of exp and of the
// reciprocal square root. docs/experiments/delegate_encoder.md says with which runtimes results are equal.
#ifndef TF_PRUNE_OFA_ENCODER_KERNEL_H_
#define TF_PRUNE_OFA_ENCODER_KERNEL_H_

#include <cstddef>
#include <cstdint>

namespace tf_prune_ofa {

// One head: softmax(q k^T + mask) v, with scores and probabilities quantized on the way. Keys, values
// have zero point 0, probabilities -128.
struct AttendArgs {
  // [tokens][dim] of this head, rows `stride` bytes apart; `out` likewise.
  const int8_t *queries, *keys, *values;
  ptrdiff_t stride;
  int8_t* out;
  int tokens;         // that are computed, as queries and as keys
  int length;         // of a row of scores in the file: decides the order of the softmax's additions
  int dim;
  const float* mask;  // [tokens rounded up to 64], -infinity from `tokens` on; 64-byte aligned
  int32_t query_zero;
  float score_scale;  // query scale * key scale / score_step
  float score_step;   // scale of quantized scores
  int32_t score_zero;
  float probability_multiplier;  // 1 / scale of probabilities
  float out_scale;    // probability scale * value scale / scale of out
  int32_t out_zero;
  uint8_t* scratch;   // EncoderKernels::scratch_bytes(tokens, dim), 64-byte aligned
};

// out = (x - mean x) / sqrt(variance x + epsilon) * gamma + beta for x = a + b, token by token, and the
// same quantized. b is absent, float, or INT8.
struct NormalizeArgs {
  const float* a;
  const float* b;
  const int8_t* b_bytes;
  float b_scale;
  int32_t b_zero;
  const float *gamma, *beta;
  float epsilon;
  int tokens, columns;
  float* out;           // may be null
  int8_t* out_bytes;    // may be null
  float out_multiplier;  // 1 / scale of out_bytes
  int32_t out_zero;
};

struct EncoderKernels {
  bool (*can_attend)(int dim);
  size_t (*scratch_bytes)(int tokens, int dim);
  void (*attend)(const AttendArgs& args);
  bool (*can_normalize)(int columns);
  void (*normalize)(const NormalizeArgs& args);
  // out[i] = table[in[i] + 128]; `out` may be `in`.
  void (*look_up)(const int8_t* table, const int8_t* in, size_t count, int8_t* out);
};

// Each in the library of its processor family alone.
extern const EncoderKernels kAvx512EncoderKernels;
extern const EncoderKernels kAvx512HalfEncoderKernels;
extern const EncoderKernels kAvxVnniEncoderKernels;
extern const EncoderKernels kAvx2EncoderKernels;
extern const EncoderKernels kNeonEncoderKernels;
extern const EncoderKernels kNeonDotEncoderKernels;

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ENCODER_KERNEL_H_
