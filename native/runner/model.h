// An opened file: runtime, delegates, inputs.
#ifndef TF_PRUNE_OFA_RUNNER_MODEL_H_
#define TF_PRUNE_OFA_RUNNER_MODEL_H_

#include <string>
#include <vector>

#include "job.h"
#include "tflite_c.h"

namespace tf_prune_ofa::runner {

// What became of a graph's operators.
struct Counts {
  int left;    // no delegate took them
  int pieces;  // that delegates took
};

class Model {
 public:
  // Opens the file and sets the first example; throws std::runtime_error with what the runtime
  // says. `delegate` is null where the row has none.
  Model(const TfLiteC& api, const DelegateLibrary* delegate, const Job& job, const Row& row);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  void SetExample(int index);
  void Invoke();
  // All outputs in the file's order, one after the other.
  std::string OutputBytes() const;
  // A JSON list: name, type, shape, scale and zero_point of each output.
  std::string OutputsJson() const;
  // What the sparse delegate says of each layer; empty without it.
  std::string Report() const;
  // Which layers it was never measured with, and on what it runs; see native/src/delegate.cc.
  std::string Unmeasured() const;
  std::string Processor() const;
  int examples() const { return examples_; }
  // After the sparse delegate's turn, and after XNNPACK's.
  const Counts& after_sparse() const { return counts_[0]; }
  const Counts& after_all() const { return counts_[1]; }

 private:
  void Close();
  [[noreturn]] void Fail(const std::string& what);

  const TfLiteC& api_;
  const DelegateLibrary* library_;
  TfLiteModel* model_ = nullptr;
  TfLiteInterpreterOptions* options_ = nullptr;
  TfLiteInterpreter* interpreter_ = nullptr;
  TfLiteDelegate* sparse_ = nullptr;
  TfLiteDelegate* xnnpack_ = nullptr;
  TfLiteDelegate counters_[2] = {};
  std::string errors_, input_bytes_;
  Counts counts_[2] = {};
  int examples_ = 0;
};

}  // namespace tf_prune_ofa::runner

#endif  // TF_PRUNE_OFA_RUNNER_MODEL_H_
