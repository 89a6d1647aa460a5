// Attention on AVX-512 with registers of 256 bits, for processors that run 512 bits in two passes.
#include "encoder_avx512.h"

#include "attend_avx_bytes.h"

namespace tf_prune_ofa {

const EncoderKernels kAvx512HalfEncoderKernels = {
    CanAttend,          ScratchBytes<ByteProducts>, AttendWith<ByteProducts>,
    CanNormalizeAvx512, NormalizeAvx512,            LookUpAvx512,
};

}  // namespace tf_prune_ofa
