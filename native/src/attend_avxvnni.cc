// Attention on AVX-VNNI.
#include "attend_avx_bytes.h"

namespace tf_prune_ofa {

const EncoderKernels kAvxVnniEncoderKernels = {
    CanAttend,        ScratchBytes<ByteProducts>, AttendWith<ByteProducts>,
    CanNormalizeAvx2, NormalizeAvx2,              LookUpAvx2,
};

}  // namespace tf_prune_ofa
