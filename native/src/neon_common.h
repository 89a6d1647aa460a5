// What the NEON kernels with and without dot products share. In kernels_neon.cc.
#ifndef TF_PRUNE_OFA_NEON_COMMON_H_
#define TF_PRUNE_OFA_NEON_COMMON_H_

#include "kernel.h"

namespace tf_prune_ofa {

RowQuantization QuantizeNeon(const float* values, int columns, int8_t* out);
// As Kernels::rounds_as_kleidiai says.
RowQuantization QuantizeNeonAsKleidiAi(const float* values, int columns, int8_t* out);
// Of eight rows of bytes the columns as 16-bit numbers, eight of each, `next` numbers apart. A multiple of
// 8 columns.
void PackEightRows(const int8_t* const rows[8], int columns, ptrdiff_t next, int16_t* to);
// `tokens` = Kernels::tokens, a multiple of 16. Activations are packed signed: no unsigned_offset.
void FinishFloatNeon(const FinishFloatArgs& args, int tokens, bool rounds_as_kleidiai);
void FinishInt8Neon(const FinishInt8Args& args, int tokens);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_NEON_COMMON_H_
