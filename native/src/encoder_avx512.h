// What attention and the rest of an encoder share on AVX-512. Only for sources compiled for it.
#ifndef TF_PRUNE_OFA_ENCODER_AVX512_H_
#define TF_PRUNE_OFA_ENCODER_AVX512_H_

// GCC 12 warns of variables in its own header that are undefined on purpose.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "encoder_kernel.h"

namespace tf_prune_ofa {

bool CanAttendAvx512(int dim);
size_t AttendScratchBytesAvx512(int tokens, int dim);
void AttendAvx512(const AttendArgs& args);
bool CanNormalizeAvx512(int columns);
void NormalizeAvx512(const NormalizeArgs& args);
void LookUpAvx512(const int8_t* table, const int8_t* in, size_t count, int8_t* out);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_ENCODER_AVX512_H_
