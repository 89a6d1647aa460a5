// Which kernels this machine runs.
#include <cstring>
#include <utility>

#include "encoder_kernel.h"
#include "kernel.h"
#include "processor.h"

namespace tf_prune_ofa {

namespace {

#if defined(__x86_64__)
const Kernels* Avx512KernelsForThisProcessor() {
  static const Kernels kernels = [] {
    Kernels found = *Avx512VnniKernels();
    if (ThisProcessor().splits_wide_vectors) found.encoder = &kAvx512HalfEncoderKernels;
    return found;
  }();
  return &kernels;
}
#endif

}  // namespace

const std::vector<const Kernels*>& AllKernels() {
  static const std::vector<const Kernels*> all = [] {
    std::vector<const Kernels*> found;
#if defined(__x86_64__)
    found = {Avx512KernelsForThisProcessor(), Avx512VnniShiftKernels(), AvxVnniKernels(), Avx2Kernels()};
    if (ThisProcessor().prefers_shifts) std::swap(found[0], found[1]);
#elif defined(__aarch64__)
    found = {NeonI8mmKernels(), NeonDotKernels(), NeonKernels()};
#endif
    found.push_back(&kPortableKernels);
    return found;
  }();
  return all;
}

const Kernels* FindKernels(const char* name) {
  for (const Kernels* kernels : AllKernels()) {
    if (name != nullptr && std::strcmp(name, kernels->name) != 0) continue;
    if (kernels->is_supported()) return kernels;
  }
  return nullptr;
}

}  // namespace tf_prune_ofa
