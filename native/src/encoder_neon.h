// What the encoder's kernels with and without dot products share on NEON. In normalize_neon.cc.
#ifndef TF_PRUNE_OFA_ENCODER_NEON_H_
#define TF_PRUNE_OFA_ENCODER_NEON_H_

#include "encoder_kernel.h"

namespace tf_prune_ofa {

bool CanNormalizeNeon(int columns);
void NormalizeNeon(const NormalizeArgs& args);
void LookUpNeon(const int8_t* table, const int8_t* in, size_t count, int8_t* out);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ENCODER_NEON_H_
