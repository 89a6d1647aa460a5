// What the runner is told to do: a file of lines "KEY VALUES...", see job.cc.
#ifndef TF_PRUNE_OFA_RUNNER_JOB_H_
#define TF_PRUNE_OFA_RUNNER_JOB_H_

#include <string>
#include <utility>
#include <vector>

namespace tf_prune_ofa::runner {

using Options = std::vector<std::pair<std::string, std::string>>;

// One row of the table.
struct Row {
  std::string model;  // .tflite file
  bool is_sparse;     // with the sparse INT8 delegate
  int threads;
  // File of all inputs of one example in the model's order, then the next example's.
  std::string inputs;
  Options options;  // of the delegate, for this row; before the job's
};

struct Job {
  std::string runtime = "libtensorflowlite_c.so";
  std::string delegate;
  Options options;  // of the delegate
  std::vector<int> cores;  // to run on; empty: the system's choice
  std::string sys = "/sys";
  int warmup = 5;
  int rounds = 100;  // 0: only open the rows
  int burst = 2;
  int loads = 3;
  int examples = 1;      // in each inputs file
  double seconds = 60;   // of rounds
  int limit = 600;       // seconds until the program ends itself
  std::vector<Row> rows;
};

// Throws std::runtime_error with what is wrong.
Job ReadJob(const std::string& path);

}  // namespace tf_prune_ofa::runner

#endif  // TF_PRUNE_OFA_RUNNER_JOB_H_
