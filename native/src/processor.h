// What this machine's processor is, as far as the costs of a layer depend on it.
#ifndef TF_PRUNE_OFA_PROCESSOR_H_
#define TF_PRUNE_OFA_PROCESSOR_H_

#include <string>

namespace tf_prune_ofa {

struct Processor {
  // The model, such as AuthenticAMD-25-17-1: what measured costs are kept under. No spaces.
  std::string name;
  // zen4, zen5, amx, avx512, sme, arm or other: what shipped costs are kept under.
  std::string family;
  // Intel's cores from Sapphire Rapids on: one unit shuffles, and others can move instead.
  bool prefers_shifts = false;
  // Zen 4: instructions of 512 bits take two passes, so that they gain nothing over those of 256.
  bool splits_wide_vectors = false;
  // AMX or SME: dense layers run several times faster there than dot products can.
  bool has_matrix_unit = false;
  // Of the first-level data cache; 32 KiB where the system does not tell.
  int cache_bytes = 32 << 10;
};

const Processor& ThisProcessor();

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_PROCESSOR_H_
