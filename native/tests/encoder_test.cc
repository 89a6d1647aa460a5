// What lies between an encoder's layers, on every instruction set that this machine runs: against plain
// loops, and all sets of a processor family against each other, bit for bit.
//
//   encoder_test [random heads, normalizations and tables each [seed]]
#include <cstring>
#include <map>
#include <string>

#include "check.h"
#include "encoder_kernel.h"
#include "kernel.h"
#include "random_layer.h"

namespace tf_prune_ofa {
namespace {

constexpr int8_t kGuard = 77;  // behind what is written

// Storage that begins where vectors may.
template <typename Number>
class Aligned {
 public:
  explicit Aligned(size_t count) : bytes_(count * sizeof(Number) + 64) {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    begin_ = reinterpret_cast<Number*>(bytes_.data() + (64 - address % 64) % 64);
  }
  Number* data() { return begin_; }

 private:
  std::vector<uint8_t> bytes_;
  Number* begin_;
};

std::vector<const Kernels*> WithEncoder() {
  std::vector<const Kernels*> found;
  for (const Kernels* kernels : AllKernels()) {
    if (kernels->is_supported() && kernels->encoder != nullptr) found.push_back(kernels);
  }
  return found;
}

// The results of each set, which have to be those of the first.
template <typename Number>
void CompareSets(const std::map<std::string, std::vector<Number>>& by_set, const char* what, int seed) {
  const auto& [first, expected] = *by_set.begin();
  for (const auto& [name, found] : by_set) {
    for (size_t i = 0; i < expected.size(); ++i) {
      CHECK(std::memcmp(&expected[i], &found[i], sizeof(Number)) == 0,
            "%s %d, %s: at %zu %.9g, with %s %.9g", what, seed, name.c_str(), i,
            static_cast<double>(found[i]), first.c_str(), static_cast<double>(expected[i]));
    }
  }
}

int Quantized(double value, int zero) {
  return std::min(127, std::max(-128, static_cast<int>(std::nearbyint(value)) + zero));
}

std::vector<int8_t> RandomBytes(Random* random, size_t count, bool is_extreme) {
  std::vector<int8_t> bytes;
  for (size_t i = 0; i < count; ++i) {
    const int extreme = random->Chance(0.5) ? 127 : -128;
    bytes.push_back(static_cast<int8_t>(is_extreme ? extreme : random->Int(-128, 127)));
  }
  return bytes;
}

// ---- Attention

// One head in double precision; probabilities are quantized on the way, as files have it.
std::vector<double> ExpectedHead(const AttendArgs& args) {
  std::vector<double> out;
  for (int t = 0; t < args.tokens; ++t) {
    std::vector<double> scores;
    for (int k = 0; k < args.tokens; ++k) {
      int sum = 0;
      for (int d = 0; d < args.dim; ++d) {
        sum += (args.queries[t * args.stride + d] - args.query_zero) * args.keys[k * args.stride + d];
      }
      // Where a score lies between two integers decides much, so it is rounded as floats are.
      const float y = static_cast<float>(sum) * args.score_scale;
      const int score = Quantized(y, args.score_zero) - args.score_zero;
      scores.push_back(static_cast<double>(score) * args.score_step + args.mask[k]);
    }
    const double top = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - top);
    for (int d = 0; d < args.dim; ++d) {
      double sum = 0;
      for (int k = 0; k < args.tokens; ++k) {
        const double share = scores[k] / total * args.probability_multiplier;
        sum += (Quantized(share, -128) + 128) * args.values[k * args.stride + d];
      }
      out.push_back(sum * args.out_scale);
    }
  }
  return out;
}

void TestHead(int seed, const std::vector<const Kernels*>& sets) {
  Random random(seed);
  AttendArgs args = {};
  args.dim = random.Chance(0.5) ? 32 : 64;
  args.length = random.Int(1, random.Chance(0.2) ? 400 : 140);
  args.tokens = random.Chance(0.3) ? random.Int(1, args.length) : args.length;
  args.stride = args.dim * random.Int(1, 3);
  const bool is_extreme = random.Chance(0.2);
  const size_t count = static_cast<size_t>(args.tokens) * args.stride;
  const std::vector<int8_t> queries = RandomBytes(&random, count, is_extreme),
                            keys = RandomBytes(&random, count, is_extreme);
  std::vector<int8_t> values = RandomBytes(&random, count, is_extreme);
  args.queries = queries.data(), args.keys = keys.data(), args.values = values.data();
  const int padded = (args.tokens + 63) / 64 * 64;
  Aligned<float> mask(padded);
  for (int k = 0; k < padded; ++k) {
    mask.data()[k] = k < args.tokens ? (random.Chance(0.2) ? -1e4f : 0.0f)
                                     : -std::numeric_limits<float>::infinity();
  }
  args.mask = mask.data();
  args.query_zero = random.Int(-128, 127);
  args.score_step = random.Float(0.001f, 0.03f);
  args.score_zero = random.Int(-128, 127);
  args.score_scale = random.Float(0.1f, 2.0f) * 127 / (5500 * std::sqrt(static_cast<float>(args.dim)));
  args.probability_multiplier = random.Chance(0.5) ? 255.0f : 256.0f;
  args.out_scale = random.Float(0.2f, 2.0f) / 256;
  args.out_zero = random.Int(-128, 127);
  // Results are probabilities of some keys, all much alike, in such small steps that their last bit decides
  // now and then.
  if (random.Chance(0.5)) {
    args.score_step /= 10;
    args.probability_multiplier = args.tokens * random.Float(20.0f, 200.0f);
    std::fill(values.begin(), values.end(), 0);
    for (int d = 0; d < args.dim; ++d) values[random.Int(0, args.tokens - 1) * args.stride + d] = 1;
    args.out_scale = 1;
    args.out_zero = -128;
  }

  const std::vector<double> expected = ExpectedHead(args);
  std::map<std::string, std::vector<int8_t>> by_set;
  for (const Kernels* kernels : sets) {
    const EncoderKernels& encoder = *kernels->encoder;
    CHECK(encoder.can_attend(args.dim) && !encoder.can_attend(48), "%s", kernels->name);
    const size_t bytes = encoder.scratch_bytes(args.tokens, args.dim);
    Aligned<uint8_t> scratch(bytes + 1);
    scratch.data()[bytes] = kGuard;
    std::vector<int8_t> out(count, kGuard);
    args.scratch = scratch.data(), args.out = out.data();
    encoder.attend(args);
    CHECK(scratch.data()[bytes] == kGuard, "%s, head %d", kernels->name, seed);
    // A probability on the border of two integers weighs as much as its value.
    const double allowed = args.out_scale == 1 ? 1 : 0.501 + 4 * 128.0 * args.out_scale;
    for (size_t i = 0; i < count; ++i) {
      const int d = static_cast<int>(i % args.stride), t = static_cast<int>(i / args.stride);
      if (d >= args.dim) {
        CHECK(out[i] == kGuard, "%s, head %d: wrote beside it", kernels->name, seed);
        continue;
      }
      const double exact = std::min(127.0, std::max(-128.0, expected[t * args.dim + d] + args.out_zero));
      CHECK(std::abs(out[i] - exact) <= allowed, "%s, head %d, %d tokens: at %zu %d, not %.2f",
            kernels->name, seed, args.tokens, i, out[i], exact);
    }
    by_set[kernels->name] = out;
  }
  CompareSets(by_set, "head", seed);
}

// ---- LayerNorm

void TestNormalization(int seed, const std::vector<const Kernels*>& sets) {
  Random random(seed);
  NormalizeArgs args = {};
  args.tokens = random.Int(1, 9);
  args.columns = 32 * random.Int(1, random.Chance(0.1) ? 128 : 24);
  const size_t count = static_cast<size_t>(args.tokens) * args.columns;
  const int second = random.Int(0, 2);
  std::vector<float> a, b, gamma, beta;
  const float scale = random.Float(0.1f, 5.0f), shift = random.Normal();
  for (size_t i = 0; i < count; ++i) {
    a.push_back(random.Normal() * scale + shift);
    b.push_back(random.Normal());
  }
  for (int c = 0; c < args.columns; ++c) {
    gamma.push_back(random.Float(0.5f, 1.5f));
    beta.push_back(random.Normal());
  }
  const std::vector<int8_t> b_bytes = RandomBytes(&random, count, false);
  args.a = a.data(), args.gamma = gamma.data(), args.beta = beta.data();
  if (second == 1) args.b = b.data();
  if (second == 2) args.b_bytes = b_bytes.data();
  args.b_scale = random.Float(0.01f, 0.1f);
  args.b_zero = random.Int(-128, 127);
  args.epsilon = random.Chance(0.5) ? 1e-12f : 1e-5f;
  args.out_multiplier = 1 / random.Float(0.01f, 0.05f);
  args.out_zero = random.Int(-128, 127);

  std::vector<double> expected;
  for (int t = 0; t < args.tokens; ++t) {
    std::vector<double> x;
    double mean = 0, variance = 0;
    for (int c = 0; c < args.columns; ++c) {
      const size_t i = static_cast<size_t>(t) * args.columns + c;
      x.push_back(a[i] + (second == 1   ? b[i]
                          : second == 2 ? (b_bytes[i] - args.b_zero) * double{args.b_scale}
                                        : 0));
      mean += x.back() / args.columns;
    }
    for (const double v : x) variance += (v - mean) * (v - mean) / args.columns;
    for (int c = 0; c < args.columns; ++c) {
      expected.push_back((x[c] - mean) / std::sqrt(variance + args.epsilon) * gamma[c] + beta[c]);
    }
  }
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<int8_t>> bytes;
  for (const Kernels* kernels : sets) {
    CHECK(kernels->encoder->can_normalize(args.columns) &&
              !kernels->encoder->can_normalize(args.columns + 1),
          "%s", kernels->name);
    std::vector<float> out(count);
    std::vector<int8_t> out_bytes(count + 1, kGuard);
    args.out = out.data(), args.out_bytes = out_bytes.data();
    kernels->encoder->normalize(args);
    CHECK(out_bytes[count] == kGuard, "%s, normalization %d", kernels->name, seed);
    for (size_t i = 0; i < count; ++i) {
      CHECK(std::abs(out[i] - expected[i]) <= 1e-4 * (1 + std::abs(expected[i])),
            "%s, normalization %d of %d columns: at %zu %.9g, not %.9g", kernels->name, seed,
            args.columns, i, out[i], expected[i]);
      CHECK(out_bytes[i] == Quantized(static_cast<double>(out[i] * args.out_multiplier), args.out_zero),
            "%s, normalization %d: at %zu %d", kernels->name, seed, i, out_bytes[i]);
    }
    // Either alone is the same.
    std::vector<float> alone(count);
    std::vector<int8_t> alone_bytes(count + 1, kGuard);
    args.out = alone.data(), args.out_bytes = nullptr;
    kernels->encoder->normalize(args);
    args.out = nullptr, args.out_bytes = alone_bytes.data();
    kernels->encoder->normalize(args);
    CHECK(alone == out && alone_bytes == out_bytes, "%s, normalization %d", kernels->name, seed);
    floats[kernels->name] = out;
    bytes[kernels->name] = out_bytes;
  }
  CompareSets(floats, "normalization", seed);
  CompareSets(bytes, "normalization", seed);
}

// ---- Tables

void TestTable(int seed, const std::vector<const Kernels*>& sets) {
  Random random(seed);
  const std::vector<int8_t> table = RandomBytes(&random, 256, false);
  std::vector<int8_t> in = RandomBytes(&random, random.Int(1, 700), false);
  for (int i = 0; i < 256 && static_cast<size_t>(i) < in.size(); ++i) in[i] = static_cast<int8_t>(i);
  for (const Kernels* kernels : sets) {
    std::vector<int8_t> out(in.size() + 1, kGuard), in_place = in;
    kernels->encoder->look_up(table.data(), in.data(), in.size(), out.data());
    kernels->encoder->look_up(table.data(), in_place.data(), in.size(), in_place.data());
    CHECK(out.back() == kGuard, "%s, table %d", kernels->name, seed);
    for (size_t i = 0; i < in.size(); ++i) {
      CHECK(out[i] == table[in[i] + 128] && in_place[i] == out[i], "%s, table %d: at %zu %d becomes %d",
            kernels->name, seed, i, in[i], out[i]);
    }
  }
}

}  // namespace
}  // namespace tf_prune_ofa

int main(int argc, char** argv) {
  using namespace tf_prune_ofa;
  const int count = argc > 1 ? std::atoi(argv[1]) : 500, seed = argc > 2 ? std::atoi(argv[2]) : 0;
  const std::vector<const Kernels*> sets = WithEncoder();
  for (int i = seed; i < seed + count; ++i) {
    TestHead(i, sets);
    TestNormalization(i, sets);
    TestTable(i, sets);
  }
  for (const Kernels* kernels : sets) {
    std::printf("%s: %d heads, normalizations and tables\n", kernels->name, count);
  }
}
