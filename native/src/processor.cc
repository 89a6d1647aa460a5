#include "processor.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <set>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace tf_prune_ofa {
namespace {

// As Linux tells it; some ARM systems have it nowhere else.
int CacheBytes() {
  std::ifstream stream("/sys/devices/system/cpu/cpu0/cache/index0/size");
  int kilobytes = 0;
  char unit = 0;
  const bool is_told = static_cast<bool>(stream >> kilobytes >> unit) && unit == 'K';
  return is_told && kilobytes >= 8 && kilobytes <= 1024 ? kilobytes << 10 : 32 << 10;
}

#if defined(__x86_64__)

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// Tiles that the processor has and the system keeps.
bool HasAmxInt8() {
  if ((Cpuid(7).d >> 25 & 1) == 0 || (Cpuid(1).c >> 27 & 1) == 0) return false;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low >> 17 & 3) == 3;
}

Processor Find() {
  Processor processor;
  const Registers vendor = Cpuid(0), version = Cpuid(1);
  char text[13] = {};
  std::memcpy(text, &vendor.b, 4);
  std::memcpy(text + 4, &vendor.d, 4);
  std::memcpy(text + 8, &vendor.c, 4);
  int family = static_cast<int>(version.a >> 8 & 15);
  if (family == 15) family += static_cast<int>(version.a >> 20 & 255);
  const int model = static_cast<int>((version.a >> 4 & 15) | (version.a >> 12 & 0xf0));
  processor.name = std::string(text) + "-" + std::to_string(family) + "-" + std::to_string(model) +
                   "-" + std::to_string(version.a & 15);
  const bool is_amd = std::strcmp(text, "AuthenticAMD") == 0;
  const bool has_fp16 = (Cpuid(7).d >> 23 & 1) != 0;  // AVX-512 of Sapphire Rapids and later
  processor.prefers_shifts = has_fp16 && std::strcmp(text, "GenuineIntel") == 0;
  processor.has_matrix_unit = HasAmxInt8();
  if (processor.has_matrix_unit) {
    processor.family = "amx";
  } else if (is_amd && family == 0x1a) {
    processor.family = "zen5";
  } else if (is_amd && family == 0x19 && __builtin_cpu_supports("avx512vnni")) {
    processor.family = "zen4";
    processor.splits_wide_vectors = true;
  } else if (is_amd && family == 0x19) {
    processor.family = "zen3";
  } else {
    processor.family = __builtin_cpu_supports("avx512vnni") ? "avx512" : "other";
  }
  return processor;
}

#elif defined(__aarch64__)

// Kinds of cores, each as implementer and part: a phone has two or three.
std::string Cores() {
  std::ifstream stream("/proc/cpuinfo");
  std::set<std::string> kinds;
  std::string line, implementer;
  while (std::getline(stream, line)) {
    const size_t value = line.find("0x");
    if (value == std::string::npos) continue;
    if (line.rfind("CPU implementer", 0) == 0) implementer = line.substr(value);
    if (line.rfind("CPU part", 0) == 0) kinds.insert(implementer + "-" + line.substr(value));
  }
  std::string all;
  for (const std::string& kind : kinds) all += "-" + kind;
  return all.empty() ? "-unknown" : all;
}

Processor Find() {
  constexpr uint64_t kSme = uint64_t{1} << 23, kSme2 = uint64_t{1} << 37;  // in AT_HWCAP2
  Processor processor;
  processor.has_matrix_unit = (getauxval(AT_HWCAP2) & (kSme | kSme2)) != 0;
  processor.family = processor.has_matrix_unit ? "sme" : "arm";
  processor.name = processor.family + Cores();
  return processor;
}

#else

Processor Find() {
  Processor processor;
  processor.name = "unknown";
  processor.family = "other";
  return processor;
}

#endif

}  // namespace

const Processor& ThisProcessor() {
  static const Processor processor = [] {
    Processor found = Find();
    found.cache_bytes = CacheBytes();
    return found;
  }();
  return processor;
}

}  // namespace tf_prune_ofa
