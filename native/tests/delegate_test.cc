// The library through its door, with whole graphs: sound ones compared with plain loops, unsound ones
// left alone, damaged ones without a crash (run it with sanitizers).
//
//   delegate_test [graphs [damaged graphs [seed]]]
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <functional>

#include "check.h"
#include "fake_host.h"
#include "graphs.h"
#include "processor.h"
#include "random_layer.h"

extern "C" {
TfLiteDelegate* tflite_plugin_create_delegate(const char* const* options_keys,
                                              const char* const* options_values,
                                              size_t num_options,
                                              void (*report_error)(const char*));
void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate);
const char* tf_prune_ofa_report(const TfLiteDelegate* delegate);
const char* tf_prune_ofa_unmeasured(const TfLiteDelegate* delegate);
}

namespace tf_prune_ofa {
namespace {

std::string last_error;
void ReportError(const char* message) { last_error = message; }

struct Destroy {
  void operator()(TfLiteDelegate* delegate) const { tflite_plugin_destroy_delegate(delegate); }
};
using DelegatePointer = std::unique_ptr<TfLiteDelegate, Destroy>;

DelegatePointer Create(const std::vector<std::pair<std::string, std::string>>& options) {
  std::vector<const char*> keys, values;
  for (const auto& [key, value] : options) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  last_error.clear();
  return DelegatePointer(
      tflite_plugin_create_delegate(keys.data(), values.data(), keys.size(), ReportError));
}

DelegatePointer Forced(Random* random) {
  return Create({{"force", "all"}, {"num_threads", std::to_string(random->Int(1, 3))}});
}

// Ends the program after so many seconds of the processor; 0: never. A busy machine takes longer by
// the clock.
void LimitTime(int seconds) {
  itimerval timer = {};
  timer.it_value.tv_sec = seconds;
  setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

// ---- Sound graphs

void FillInput(const LayerGraph& graph, const RandomLayer& layer) {
  const TfLiteTensor& input = graph.host->tensor(graph.input);
  std::memcpy(input.data.data,
              layer.is_static() ? static_cast<const void*>(layer.bytes.data())
                                : static_cast<const void*>(layer.floats.data()),
              input.bytes);
}

void CheckOutput(const LayerGraph& graph, const RandomLayer& layer, const char* form) {
  const TfLiteTensor& output = graph.host->tensor(graph.output);
  if (layer.is_static()) {
    const std::vector<int8_t> expected = ExpectedBytes(layer);
    CHECK(output.bytes == expected.size(), "%zu", output.bytes);
    CHECK(std::memcmp(output.data.data, expected.data(), output.bytes) == 0, "%s", form);
  } else {
    const std::vector<float> expected = ExpectedFloats(layer, FindKernels(nullptr)->rounds_as_kleidiai);
    CHECK(output.bytes == 4 * expected.size(), "%zu", output.bytes);
    CHECK(std::memcmp(output.data.data, expected.data(), output.bytes) == 0, "%s", form);
  }
}

void RunAndCompare(const LayerGraph& graph, const RandomLayer& layer, const char* form,
                   Random* random) {
  const DelegatePointer delegate = Forced(random);
  CHECK(delegate != nullptr, "%s", last_error.c_str());
  FakeHost& host = *graph.host;
  CHECK(host.Apply(delegate.get()) == kTfLiteOk, "%s", form);
  CHECK(static_cast<int>(host.taken().size()) == host.node_count(), "%s: %s", form,
        tf_prune_ofa_report(delegate.get()));
  CHECK(host.Allocate() == kTfLiteOk, "%s", form);
  for (int run = 0; run < 2; ++run) {
    FillInput(graph, layer);
    CHECK(host.Invoke() == kTfLiteOk, "%s", form);
    CheckOutput(graph, layer, form);
  }
  host.Reset();
}

void TestSoundGraphs(int count, int seed) {
  int compact = 0, sparse = 0;
  for (int i = seed; i < seed + count; ++i) {
    Random random(i);
    const RandomLayer layer = MakeLayer(&random);
    RunAndCompare(DenseGraph(layer, random.Chance(0.5)), layer, "dense", &random);
    // A tensor without any stored value is none to the runtime.
    if (std::count(layer.weights.begin(), layer.weights.end(), 0) ==
        static_cast<long>(layer.weights.size())) {
      continue;
    }
    const int block = layer.columns % 16 == 0 ? 16 : layer.columns % 4 == 0 ? 4 : 1;
    RunAndCompare(SparseGraph(layer, block), layer, "sparse", &random);
    ++sparse;
    if (!layer.is_static()) continue;
    const int width = layer.columns % 3 == 0 ? 3 : 1;
    RunAndCompare(CompactGraph(layer, width), layer, "compact", &random);
    ++compact;
  }
  std::printf("%d dense graphs, %d sparse, %d compact\n", count, sparse, compact);
}

// A layer whose zeros pay.
RandomLayer LargeLayer(double zeros, bool is_static) {
  Random random(1);
  RandomLayer layer = MakeLayer(&random);
  layer.rows = 256;
  layer.columns = 256;
  layer.tokens = 64;
  layer.parameters.arithmetic = is_static ? Arithmetic::kStatic : Arithmetic::kDynamic;
  layer.parameters.weight_scales.assign(layer.rows, 0.01f);
  layer.parameters.integer_bias.assign(layer.rows, 7);
  layer.parameters.float_bias.assign(layer.rows, 7);
  layer.weights.clear();
  for (int i = 0; i < layer.rows * layer.columns; ++i) {
    layer.weights.push_back(static_cast<int8_t>(random.Chance(zeros) ? 0 : random.Int(1, 127)));
  }
  layer.bytes.clear();
  layer.floats.clear();
  for (int i = 0; i < layer.tokens * layer.columns; ++i) {
    layer.bytes.push_back(static_cast<int8_t>(random.Int(-128, 127)));
    layer.floats.push_back(random.Normal());
  }
  return layer;
}

void TestTwoLayersInARow() {
  // The first layer's output is seen by nobody else, so that the host gives it no memory.
  const RandomLayer layer = LargeLayer(0.9, true);
  LayerGraph graph = CompactGraph(layer, 2);
  FakeHost* host = graph.host.get();
  const int weights = host->AddConstant(kTfLiteInt8, {layer.rows, layer.columns}, layer.weights);
  QuantizeWeights(host, weights, layer);
  const int output = AddActivations(host, layer, {1, layer.tokens, layer.rows}, false);
  TfLiteFullyConnectedParams parameters = {};
  host->AddNode(kTfLiteBuiltinFullyConnected, 5, {graph.output, weights, -1}, {output}, parameters);

  std::vector<int8_t> results[2];
  for (const bool is_middle_seen : {false, true}) {
    host->graph_outputs = {output};
    if (is_middle_seen) host->graph_outputs.insert(graph.output);
    const DelegatePointer delegate = Create({{"force", "all"}});
    CHECK(host->Apply(delegate.get()) == kTfLiteOk && host->Allocate() == kTfLiteOk, "allocation");
    CHECK((host->tensor(graph.output).data.data != nullptr) == is_middle_seen, "memory");
    FillInput(graph, layer);
    CHECK(host->Invoke() == kTfLiteOk, "run");
    const TfLiteTensor& tensor = host->tensor(output);
    results[is_middle_seen].assign(tensor.data.int8, tensor.data.int8 + tensor.bytes);
    if (is_middle_seen) CheckOutput(graph, layer, "middle");
    host->Reset();
  }
  CHECK(results[0] == results[1], "the results differ");
}

void TestOneInputInTwoShapes() {
  // 64 tokens of 256 numbers for one layer are 128 tokens of 128 numbers for another.
  const RandomLayer wide = LargeLayer(0.9, true);
  RandomLayer narrow = wide;
  narrow.columns = 128;
  narrow.tokens = 128;
  narrow.weights.resize(static_cast<size_t>(narrow.rows) * narrow.columns);
  LayerGraph graph = DenseGraph(wide, true);
  FakeHost* host = graph.host.get();
  const int reshaped = AddActivations(host, narrow, {1, 128, 128}, true);
  const int shape = host->AddConstant(kTfLiteInt32, {3}, std::vector<int>{1, 128, 128});
  host->AddNode(kReshapeCode, 1, {graph.input, shape}, {reshaped}, 0);
  const int weights = host->AddConstant(kTfLiteInt8, {narrow.rows, 128}, narrow.weights);
  QuantizeWeights(host, weights, narrow);
  LayerGraph second;
  second.output = AddActivations(host, narrow, {1, 128, narrow.rows}, false);
  TfLiteFullyConnectedParams parameters = {};
  parameters.activation = ActivationOf(narrow.parameters);
  parameters.keep_num_dims = true;
  host->AddNode(kTfLiteBuiltinFullyConnected, 5, {reshaped, weights, AddBias(host, narrow)},
                {second.output}, parameters);
  host->graph_outputs = {graph.output, second.output};
  const DelegatePointer delegate = Create({{"force", "all"}});
  CHECK(host->Apply(delegate.get()) == kTfLiteOk && host->taken().size() == 3, "taken");
  CHECK(host->Allocate() == kTfLiteOk, "allocation");
  FillInput(graph, wide);
  CHECK(host->Invoke() == kTfLiteOk, "run");
  CheckOutput(graph, wide, "wide");
  const TfLiteTensor& output = host->tensor(second.output);
  const std::vector<int8_t> expected = ExpectedBytes(narrow);
  CHECK(std::memcmp(output.data.data, expected.data(), expected.size()) == 0, "narrow");
  host->Reset();
}

// ---- Graphs that are left alone

void TestLeftAlone() {
  struct Case {
    const char* name;
    std::function<void(const LayerGraph&)> change;
  };
  // In DenseGraph tensors are 0 input, 1 weights, 2 bias, 3 output.
  const auto affine = [](const LayerGraph& g, int tensor) {
    return static_cast<TfLiteAffineQuantization*>(g.host->tensor(tensor).quantization.params);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {"weights that are computed",
       [](const LayerGraph& g) { g.host->tensor(1).allocation_type = kTfLiteArenaRw; }},
      {"weights without data", [](const LayerGraph& g) { g.host->tensor(1).data.data = nullptr; }},
      {"4-bit weights", [](const LayerGraph& g) { g.host->tensor(1).type = kTfLiteInt4; }},
      {"float weights", [](const LayerGraph& g) { g.host->tensor(1).type = kTfLiteFloat32; }},
      {"fewer weights than the shape says", [](const LayerGraph& g) { g.host->tensor(1).bytes -= 1; }},
      {"a zero point of weights", [&](const LayerGraph& g) { affine(g, 1)->zero_point->data[0] = 1; }},
      {"a scale of 0", [&](const LayerGraph& g) { affine(g, 1)->scale->data[0] = 0; }},
      {"a scale that is none", [&](const LayerGraph& g) { affine(g, 1)->scale->data[0] = nan; }},
      {"no scales", [&](const LayerGraph& g) { affine(g, 1)->scale = nullptr; }},
      {"no zero points", [&](const LayerGraph& g) { affine(g, 1)->zero_point = nullptr; }},
      {"too few scales", [](const LayerGraph& g) { g.host->Quantize(1, {1, 1}, {0, 0}); }},
      {"scales by column",
       [](const LayerGraph& g) {
         g.host->Quantize(1, std::vector<float>(256, 0.5f), std::vector<int>(256, 0), 1);
       }},
      {"quantization without parameters",
       [](const LayerGraph& g) { g.host->tensor(1).quantization.params = nullptr; }},
      {"unknown quantization",
       [](const LayerGraph& g) {
         g.host->tensor(1).quantization.type = static_cast<TfLiteQuantizationType>(2);
       }},
      {"an input with several scales", [](const LayerGraph& g) { g.host->Quantize(0, {1, 1}, {0, 0}); }},
      {"an input's zero point beyond INT8", [](const LayerGraph& g) { g.host->Quantize(0, {1}, {200}); }},
      {"an output without a scale",
       [](const LayerGraph& g) { g.host->tensor(3).quantization = {kTfLiteNoQuantization, nullptr}; }},
      {"16-bit activations", [](const LayerGraph& g) { g.host->tensor(0).type = kTfLiteInt16; }},
      {"a float output", [](const LayerGraph& g) { g.host->tensor(3).type = kTfLiteFloat32; }},
      {"an input of dynamic size",
       [](const LayerGraph& g) { g.host->tensor(0).allocation_type = kTfLiteDynamic; }},
      {"an input of any length",
       [](const LayerGraph& g) {
         g.host->tensor(0).dims_signature = g.host->KeptInts({1, -1, 256});
       }},
      {"an input that does not fit", [](const LayerGraph& g) { g.host->tensor(0).dims->data[2] = 128; }},
      {"an output that does not fit", [](const LayerGraph& g) { g.host->tensor(3).dims->data[1] = 9; }},
      {"a shape below 0", [](const LayerGraph& g) { g.host->tensor(0).dims->data[1] = -64; }},
      {"an enormous shape", [](const LayerGraph& g) { g.host->tensor(1).dims->data[0] = 1 << 30; }},
      {"no shape", [](const LayerGraph& g) { g.host->tensor(1).dims->size = 0; }},
      {"a computed bias", [](const LayerGraph& g) { g.host->tensor(2).allocation_type = kTfLiteArenaRw; }},
      {"a bias of another type", [](const LayerGraph& g) { g.host->tensor(2).type = kTfLiteFloat32; }},
      {"a short bias", [](const LayerGraph& g) { g.host->tensor(2).bytes -= 4; }},
      {"a bias that is not there", [](const LayerGraph& g) { g.host->node(0).inputs->data[2] = 77; }},
      {"an input that is not there", [](const LayerGraph& g) { g.host->node(0).inputs->data[0] = -5; }},
      {"weights that are not there", [](const LayerGraph& g) { g.host->node(0).inputs->data[1] = 99; }},
      {"an output that is not there", [](const LayerGraph& g) { g.host->node(0).outputs->data[0] = -1; }},
      {"no inputs", [](const LayerGraph& g) { g.host->node(0).inputs->size = 0; }},
      {"no outputs", [](const LayerGraph& g) { g.host->node(0).outputs->size = 0; }},
      {"no list of inputs", [](const LayerGraph& g) { g.host->node(0).inputs = nullptr; }},
      {"no parameters", [](const LayerGraph& g) { g.host->node(0).builtin_data = nullptr; }},
      {"an activation we lack",
       [](const LayerGraph& g) {
         static_cast<TfLiteFullyConnectedParams*>(g.host->node(0).builtin_data)->activation =
             kTfLiteActTanh;
       }},
      {"shuffled weights",
       [](const LayerGraph& g) {
         static_cast<TfLiteFullyConnectedParams*>(g.host->node(0).builtin_data)->weights_format =
             kTfLiteFullyConnectedWeightsFormatShuffled4x16Int8;
       }},
      {"a version to come", [](const LayerGraph& g) { g.host->registration(0).version = 15; }},
      {"another operator", [](const LayerGraph& g) { g.host->registration(0).builtin_code = 8; }},
  };
  const RandomLayer layer = LargeLayer(0.9, true);
  int count = 0;
  for (const Case& one : cases) {
    const DelegatePointer delegate = Create({{"force", "all"}});
    const LayerGraph graph = DenseGraph(layer, true);
    one.change(graph);
    graph.host->Apply(delegate.get());
    CHECK(graph.host->taken().empty(), "taken in spite of %s", one.name);
    ++count;
  }
  std::printf("%d graphs left alone\n", count);
}

// A cost table in a file, for one test.
class TableFile {
 public:
  explicit TableFile(const std::string& text) {
    char name[] = "/tmp/tf_prune_ofa_costs_XXXXXX";
    const int file = mkstemp(name);
    CHECK(file >= 0 && write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
          "%s", name);
    close(file);
    path_ = name;
  }
  ~TableFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

bool IsTaken(const RandomLayer& layer, const std::vector<std::pair<std::string, std::string>>& options,
             std::string* report) {
  const DelegatePointer delegate = Create(options);
  CHECK(delegate != nullptr, "%s", last_error.c_str());
  const LayerGraph graph = DenseGraph(layer, true);
  CHECK(graph.host->Apply(delegate.get()) == kTfLiteOk, "apply");
  *report = std::string(tf_prune_ofa_report(delegate.get())) + tf_prune_ofa_unmeasured(delegate.get());
  return !graph.host->taken().empty();
}

// Costs that are given decide, whatever machine this is.
void TestWhatPays() {
  const std::string kernels = FindKernels(nullptr)->name;
  const TableFile cheap(kernels + " 5 8 50 500000\n"), dear(kernels + " 500 800 50 500000\n");
  for (const bool is_static : {true, false}) {
    for (const double zeros : {0.0, 0.2, 0.5, 0.99}) {
      std::string report;
      const RandomLayer layer = LargeLayer(zeros, is_static);
      CHECK(IsTaken(layer, {{"cost_table", cheap.path()}}, &report) == (zeros > 0.8), "zeros %g: %s",
            zeros, report.c_str());
      CHECK(!IsTaken(layer, {{"cost_table", dear.path()}}, &report), "zeros %g: %s", zeros,
            report.c_str());
    }
  }
}

// Times that were measured decide for their shapes, and nothing is taken of any other shape.
void TestMeasuredTimes() {
  const std::string kernels = FindKernels(nullptr)->name, owner = ThisProcessor().name;
  const RandomLayer layer = LargeLayer(0.9, true);  // 256 x 256, 64 tokens
  struct Case {
    const char* name;
    std::string lines;
    bool is_taken;
    const char* said;
  };
  const std::string shape = "layer " + kernels + " static 2 256 256 64 256 ";
  const std::string other = "layer " + kernels + " static 2 256 128 64 128 100 1 0 1 0\n";
  const Case cases[] = {
      {"faster in groups", shape + "100 1 0 200 0\n", true, "expected ratio 0.01, groups"},
      {"faster by columns", shape + "100 200 0 50 0.001\n", true, "columns"},
      {"in smaller tiles", shape + "100 200 0 200 0\nlayer " + kernels +
                               " static 2 256 256 64 128 100 5 0 200 0\n",
       true, "expected ratio 0.05, groups"},
      {"slower", shape + "100 99 0 99 0\n", false, "expected ratio 0.99"},
      {"slower by its entries", shape + "100 1 1 1 1\n", false, "expected ratio"},
      {"another shape", other, false, "never measured here\nstatic 2 256 256 64\n"},
      {"other arithmetic", "layer " + kernels + " dynamic 2 256 256 64 256 100 1 0 1 0\n", false,
       "never measured here"},
      {"other threads", "layer " + kernels + " static 1 256 256 64 256 100 1 0 1 0\n", false,
       "never measured here"},
      {"other kernels", "layer portable0 static 2 256 256 64 256 100 1 0 1 0\n", false,
       "never measured here"},
      {"nothing", "", false, "never measured here"},
  };
  for (const Case& one : cases) {
    const TableFile file("# a comment\nruntime litert 2.3.0\nprocessor " + owner + "\n" + one.lines);
    std::string report;
    CHECK(IsTaken(layer, {{"cost_table", file.path()}}, &report) == one.is_taken, "%s: %s", one.name,
          report.c_str());
    CHECK(report.find(one.said) != std::string::npos, "%s: %s", one.name, report.c_str());
    CHECK(report.find("costs measured") != std::string::npos, "%s: %s", one.name, report.c_str());
  }
  // Another processor's times are no reason to take anything, nor to leave it.
  const TableFile foreign("processor another-1-2-3\n" + shape + "100 1 0 1 0\n");
  std::string report, shipped;
  const bool is_taken = IsTaken(layer, {}, &shipped);
  CHECK(IsTaken(layer, {{"cost_table", foreign.path()}}, &report) == is_taken, "%s", report.c_str());
  CHECK(report.find("of another processor") != std::string::npos, "%s", report.c_str());

  const std::string damaged[] = {
      shape + "100 1 0 1\n", shape + "100 1 0 1 0 0\n", shape + "0 1 0 1 0\n",
      shape + "100 -1 0 1 0\n", shape + "100 1 0 1 x\n",
      "layer " + kernels + " static 2 256 256 64 255 100 1 0 1 0\n",
      "layer " + kernels + " static 2 256 256 64 1000000 100 1 0 1 0\n",
      "layer " + kernels + " float 2 256 256 64 256 100 1 0 1 0\n", "layer\n", "processor\n",
      "processor a b\n", kernels + " 1 2 3\n", std::string("\0\1\2\n", 4)};
  for (const std::string& lines : damaged) {
    const TableFile file("processor " + owner + "\n" + lines);
    CHECK(Create({{"cost_table", file.path()}}) == nullptr &&
              last_error.find("malformed line") != std::string::npos,
          "%s%s", lines.c_str(), last_error.c_str());
  }
  const TableFile unowned(shape + "100 1 0 1 0\n");
  CHECK(Create({{"cost_table", unowned.path()}}) == nullptr, "layers of no processor");
}

void TestOptions() {
  CHECK(Create({{"num_threads", "3"}, {"isa", "portable"}, {"verbose", "0"}}) != nullptr, "%s",
        last_error.c_str());
  CHECK(Create({{"layout", "columns"}, {"tile_columns", "64"}}) != nullptr, "%s",
        last_error.c_str());
  const std::pair<std::string, std::string> wrong[] = {
      {"num_threads", "0"},     {"num_threads", "many"}, {"num_threads", ""},
      {"isa", "sse9"},          {"min_saving", "1"},     {"min_saving", "x"},
      {"force", "perhaps"},     {"colour", "green"},     {"cost_table", "/no/such/file"},
      {"cost_table", "/tmp"},   {"verbose", "banana"},   {"verbose", ""},
      {"layout", "rows"},       {"tile_columns", "3"},   {"tile_columns", "6"},
      {"tile_columns", "many"}, {"tile_columns", "65536"}};
  for (const auto& option : wrong) {
    CHECK(Create({option}) == nullptr && !last_error.empty(), "%s=%s", option.first.c_str(),
          option.second.c_str());
  }
  CHECK(tflite_plugin_create_delegate(nullptr, nullptr, 1, nullptr) == nullptr, "no options");
  tflite_plugin_destroy_delegate(nullptr);
}

// A host that sets another input size after the delegate took the graph.
void TestAnotherSize() {
  RandomLayer layer = LargeLayer(0.9, true);
  for (const bool is_compact : {false, true}) {
    const DelegatePointer delegate = Create({{"force", "all"}});
    const LayerGraph graph = is_compact ? CompactGraph(layer, 1) : DenseGraph(layer, true);
    CHECK(graph.host->Apply(delegate.get()) == kTfLiteOk, "apply");
    TfLiteTensor& input = graph.host->tensor(graph.input);
    input.dims->data[1] = 96;
    input.bytes = 96 * 256;
    // A RESHAPE has its shape from the file.
    CHECK((graph.host->Allocate() == kTfLiteOk) == !is_compact, "allocation");
    if (is_compact) continue;
    CHECK(graph.host->tensor(graph.output).dims->data[1] == 96, "the output's shape");
    RandomLayer longer = layer;
    longer.tokens = 96;
    longer.bytes.resize(96 * 256, 5);
    FillInput(graph, longer);
    CHECK(graph.host->Invoke() == kTfLiteOk, "run");
    CheckOutput(graph, longer, "longer");
  }
}

// A process that forks while it has a delegate with threads: the child runs the graph and destroys
// the delegate, and so does the parent.
void TestFork() {
  const RandomLayer layer = LargeLayer(0.9, true);
  DelegatePointer delegate = Create({{"force", "all"}, {"num_threads", "3"}});
  const LayerGraph graph = DenseGraph(layer, true);
  const auto run = [&] {
    FillInput(graph, layer);
    CHECK(graph.host->Invoke() == kTfLiteOk, "run");
    CheckOutput(graph, layer, "fork");
  };
  CHECK(graph.host->Apply(delegate.get()) == kTfLiteOk, "apply");
  CHECK(graph.host->Allocate() == kTfLiteOk, "allocation");
  run();
  usleep(20000);  // workers go to sleep, and a child must not wait for sleepers
  const pid_t child = fork();
  CHECK(child >= 0, "fork");
  if (child == 0) {
    alarm(120);
    run();
    graph.host->Reset();
    delegate.reset();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with %d", status);
  run();
  graph.host->Reset();
}

// ---- Graphs whose operators are out of order

// Whether each tensor is written once, by an operator in front of all that read it.
bool IsInOrder(FakeHost* host) {
  std::set<int> written, read;
  for (int n = 0; n < host->node_count(); ++n) {
    const TfLiteNode& node = host->node(n);
    for (int i = 0; i < node.inputs->size; ++i) read.insert(node.inputs->data[i]);
    for (int i = 0; i < node.outputs->size; ++i) {
      const int output = node.outputs->data[i];
      if (output < 0 || output >= host->tensor_count()) continue;
      if (read.count(output) != 0 || !written.insert(output).second) return false;
    }
  }
  return true;
}

// RESHAPE a -> b and b -> a, each of which a CONV_2D writes as well.
LayerGraph CircleGraph(const RandomLayer& layer) {
  LayerGraph graph = CompactGraph(layer, 1);
  FakeHost* host = graph.host.get();
  // Nodes: 0 RESHAPE, 1 DENSIFY, 2 CONV_2D, 3 RESHAPE.
  const TfLiteNode convolution = host->node(2);
  const int column = convolution.outputs->data[0];
  const int other = AddActivations(host, layer, {1, layer.tokens, 1, layer.rows}, false);
  const auto* parameters = static_cast<const TfLiteConvParams*>(convolution.builtin_data);
  const std::vector<int> inputs(convolution.inputs->data, convolution.inputs->data + 3);
  const int shape = host->AddConstant(kTfLiteInt32, {4}, std::vector<int>{1, layer.tokens, 1, layer.rows});
  host->AddNode(kTfLiteBuiltinConv2d, 3, inputs, {other}, *parameters);
  host->AddNode(kReshapeCode, 1, {column, shape}, {other}, 0);
  host->AddNode(kReshapeCode, 1, {other, shape}, {column}, 0);
  host->graph_outputs.insert(column);
  return graph;
}

void TestOutOfOrder() {
  const RandomLayer layer = LargeLayer(0.9, true);
  const auto compact = [&](const std::function<void(FakeHost*)>& change) {
    LayerGraph graph = CompactGraph(layer, 1);
    change(graph.host.get());
    return graph;
  };
  std::vector<std::pair<const char*, LayerGraph>> graphs;
  graphs.emplace_back("a circle of RESHAPEs", CircleGraph(layer));
  graphs.emplace_back("a RESHAPE of its own output", compact([](FakeHost* host) {
                        host->node(3).inputs->data[0] = host->node(3).outputs->data[0];
                      }));
  graphs.emplace_back("an output that is written twice", compact([](FakeHost* host) {
                        host->node(0).outputs->data[0] = host->node(3).outputs->data[0];
                      }));
  graphs.emplace_back("weights that are unpacked after their layer",
                      compact([](FakeHost* host) { host->SwapNodes(1, 2); }));
  graphs.emplace_back("a layer before its input",
                      compact([](FakeHost* host) { host->SwapNodes(0, 2); }));
  graphs.emplace_back("a layer that writes its input", compact([](FakeHost* host) {
                        host->node(2).outputs->data[0] = host->node(2).inputs->data[0];
                      }));
  graphs.emplace_back("a layer that writes constants", compact([](FakeHost* host) {
                        host->node(2).outputs->data[0] = host->node(1).inputs->data[0];
                      }));
  for (const auto& [name, graph] : graphs) {
    LimitTime(20);
    const DelegatePointer delegate = Create({{"force", "all"}});
    graph.host->Apply(delegate.get());
    CHECK(graph.host->taken().empty(), "taken in spite of %s", name);
    CHECK(std::strstr(tf_prune_ofa_report(delegate.get()), "out of order") != nullptr, "%s: %s",
          name, tf_prune_ofa_report(delegate.get()));
  }
  LimitTime(0);
  std::printf("%zu graphs out of order\n", graphs.size());
}

// ---- Damaged graphs

// Changes how operators and tensors hang together.
void DamageStructure(FakeHost* host, Random* random) {
  const auto node = [&]() -> TfLiteNode& {
    return host->node(random->Int(0, host->node_count() - 1));
  };
  const auto any = [random](TfLiteIntArray* array) -> int* {
    static int nothing;
    return array->size == 0 ? &(nothing = -1) : &array->data[random->Int(0, array->size - 1)];
  };
  switch (random->Int(0, 6)) {
    case 0:
      host->SwapNodes(random->Int(0, host->node_count() - 1),
                      random->Int(0, host->node_count() - 1));
      break;
    case 1:  // two writers
      *any(node().outputs) = *any(node().outputs);
      break;
    case 2:  // a circle, or another order
      *any(node().inputs) = *any(node().outputs);
      break;
    case 3: {
      TfLiteNode& own = node();
      *any(own.inputs) = *any(own.outputs);
      break;
    }
    case 4:  // writes what others read, constants among it
      *any(node().outputs) = *any(node().inputs);
      break;
    case 5: {  // the same operator once more, or turned round
      const TfLiteNode twin = node();
      const std::vector<int> in(twin.inputs->data, twin.inputs->data + twin.inputs->size);
      const std::vector<int> out(twin.outputs->data, twin.outputs->data + twin.outputs->size);
      if (in.empty() || out.empty()) break;
      if (random->Chance(0.5)) {
        TfLiteConvParams parameters = {};
        parameters.padding = kTfLitePaddingValid;
        parameters.stride_width = parameters.stride_height = 1;
        parameters.dilation_width_factor = parameters.dilation_height_factor = 1;
        host->AddNode(kTfLiteBuiltinConv2d, 3, in, out, parameters);
      } else {
        host->AddNode(kReshapeCode, 1, {out[0]}, {in[0]}, 0);
      }
      break;
    }
    default: {  // constants in one place
      TfLiteTensor& one = host->tensor(random->Int(0, host->tensor_count() - 1));
      const TfLiteTensor& other = host->tensor(random->Int(0, host->tensor_count() - 1));
      if (one.allocation_type == kTfLiteMmapRo && other.allocation_type == kTfLiteMmapRo) {
        one.data = other.data;
        one.bytes = std::min(one.bytes, other.bytes);
      }
    }
  }
}

// Lets tensors of one size share memory, as a host's plan might.
void ShareMemory(FakeHost* host, Random* random) {
  for (int times = 0; times < 20; ++times) {
    TfLiteTensor& one = host->tensor(random->Int(0, host->tensor_count() - 1));
    const TfLiteTensor& other = host->tensor(random->Int(0, host->tensor_count() - 1));
    if (one.bytes == other.bytes && one.allocation_type == kTfLiteArenaRw &&
        other.allocation_type == kTfLiteArenaRw) {
      one.data = other.data;
    }
  }
}

// Changes one thing somewhere, as a damaged or hostile file might. Sizes of memory stay true: the
// host vouches for those.
void Damage(FakeHost* host, Random* random) {
  const auto number = [random] {
    const int strange[] = {0, 1, -1, 2, 3, 255, 256, 65536, 1 << 30, -(1 << 30), 2147483647, -2147483647};
    return random->Chance(0.5) ? strange[random->Int(0, 11)] : random->Int(-5, 300);
  };
  const auto damage_ints = [&](TfLiteIntArray* array) {
    if (array == nullptr || array->size == 0) return;
    if (random->Chance(0.2)) {
      array->size = random->Int(0, array->size);
    } else {
      array->data[random->Int(0, array->size - 1)] = number();
    }
  };
  TfLiteTensor& tensor = host->tensor(random->Int(0, host->tensor_count() - 1));
  TfLiteNode& node = host->node(random->Int(0, host->node_count() - 1));
  TfLiteRegistration& registration = host->registration(random->Int(0, host->node_count() - 1));
  auto* affine = static_cast<TfLiteAffineQuantization*>(tensor.quantization.params);
  switch (random->Int(0, 15)) {
    case 0:
      damage_ints(tensor.dims);
      break;
    case 1:
      tensor.type = static_cast<TfLiteType>(random->Int(-1, 20));
      break;
    case 2:
      tensor.allocation_type = static_cast<TfLiteAllocationType>(random->Int(0, 8));
      break;
    case 3:
      tensor.bytes = static_cast<size_t>(random->Int(0, static_cast<int>(tensor.bytes)));
      break;
    case 4:
      tensor.quantization.type = static_cast<TfLiteQuantizationType>(random->Int(0, 3));
      break;
    case 5:
      tensor.quantization.params = nullptr;
      break;
    case 6:
      if (affine != nullptr) damage_ints(affine->zero_point);
      break;
    case 7:
      if (affine != nullptr && affine->scale->size > 0) {
        const float strange[] = {0, -1, INFINITY, NAN, 1e-38f, 3e38f};
        affine->scale->data[random->Int(0, affine->scale->size - 1)] = strange[random->Int(0, 5)];
      }
      break;
    case 8:
      if (affine != nullptr) affine->scale->size = random->Int(0, affine->scale->size);
      break;
    case 9:
      damage_ints(random->Chance(0.7) ? node.inputs : node.outputs);
      break;
    case 10:
      if (node.builtin_data != nullptr) {
        static_cast<int*>(node.builtin_data)[0] = number();
      }
      break;
    case 11:
      registration.version = number();
      break;
    case 12:
      if (tensor.allocation_type == kTfLiteMmapRo && random->Chance(0.3)) tensor.data.data = nullptr;
      break;
    default: {
      for (int t = 0; t < host->tensor_count(); ++t) {
        TfLiteSparsity* sparsity = host->tensor(t).sparsity;
        if (sparsity == nullptr || sparsity->dim_metadata_size == 0) continue;
        const int level = random->Int(0, sparsity->dim_metadata_size - 1);
        TfLiteDimensionMetadata& metadata = sparsity->dim_metadata[level];
        switch (random->Int(0, 7)) {
          case 0:
            damage_ints(sparsity->traversal_order);
            break;
          case 1:
            damage_ints(sparsity->block_map);
            break;
          case 2:
            metadata.format = static_cast<TfLiteDimensionType>(random->Int(-1, 2));
            break;
          case 3:
            metadata.dense_size = number();
            break;
          case 4:
            damage_ints(metadata.array_segments);
            break;
          case 5:
            damage_ints(metadata.array_indices);
            break;
          case 6:
            metadata.array_segments = nullptr;
            break;
          default:
            sparsity->dim_metadata_size = random->Int(0, sparsity->dim_metadata_size);
        }
      }
    }
  }
}

void TestDamagedGraphs(int count, int seed) {
  int taken = 0, tried = 0, out_of_order = 0;
  for (int i = seed; tried < count; ++i) {
    Random random(i);
    RandomLayer layer = MakeLayer(&random);
    // Small, so that many can be tried.
    if (layer.columns > 200 || layer.rows > 70 || layer.tokens > 70) continue;
    ++tried;
    const int form = random.Int(0, 2);
    if (form == 2) layer.parameters.arithmetic = Arithmetic::kStatic;
    const LayerGraph graph = form == 0   ? DenseGraph(layer, random.Chance(0.5))
                             : form == 1 ? SparseGraph(layer, layer.columns % 4 == 0 ? 4 : 1)
                                         : CompactGraph(layer, layer.columns % 2 == 0 ? 2 : 1);
    // The order of operators alone, or anything.
    const bool is_of_structure = random.Chance(0.4);
    for (int times = random.Int(1, 3); times > 0; --times) {
      if (is_of_structure || random.Chance(0.2)) {
        DamageStructure(graph.host.get(), &random);
      } else {
        Damage(graph.host.get(), &random);
      }
    }
    LimitTime(60);  // a hang is a failure
    const DelegatePointer delegate = Create({{"force", "all"}, {"num_threads", "1"}});
    FakeHost& host = *graph.host;
    host.Apply(delegate.get());
    taken += !host.taken().empty();
    const bool is_in_order = IsInOrder(&host);
    out_of_order += !is_in_order;
    CHECK(is_in_order || host.taken().empty(), "%d: taken, but out of order", i);
    if (host.Allocate() == kTfLiteOk) {
      if (random.Chance(0.3)) ShareMemory(&host, &random);
      host.Invoke();
    }
    host.Reset();
  }
  LimitTime(0);
  std::printf("%d damaged graphs, %d of them still taken, %d out of order\n", tried, taken,
              out_of_order);
}

}  // namespace
}  // namespace tf_prune_ofa

int main(int argc, char** argv) {
  using namespace tf_prune_ofa;
  const int seed = argc > 3 ? std::atoi(argv[3]) : 0;
  TestOptions();
  TestWhatPays();
  TestMeasuredTimes();
  TestLeftAlone();
  TestTwoLayersInARow();
  TestOneInputInTwoShapes();
  TestAnotherSize();
  TestFork();
  TestOutOfOrder();
  TestSoundGraphs(argc > 1 ? std::atoi(argv[1]) : 100, seed);
  TestDamagedGraphs(argc > 2 ? std::atoi(argv[2]) : 3000, seed);
}
