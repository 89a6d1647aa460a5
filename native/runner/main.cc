// Measures .tflite files on the machine that it is started on.
//
//   tf_prune_ofa_runner JOB      see job.h; tools/benchmark_device.py writes it
//   tf_prune_ofa_runner --check  says that programs run here
//
// It prints one JSON object a line, each with an "event": start, load or refused (of a row), open,
// round, end. All rows are open at once and run in turns, so that each meets the same moods of the
// machine. Load time and memory come from processes of their own, which are forked before the
// runtime is loaded. The program ends itself after the job's limit, whoever may have gone away.
#include <sched.h>
#include <signal.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>

#include "job.h"
#include "json.h"
#include "model.h"
#include "sensors.h"
#include "tflite_c.h"

namespace tf_prune_ofa::runner {
namespace {

// Fewer rounds give no percentiles worth printing.
constexpr int kFewestRounds = 5;

double Milliseconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return 1e3 * time.tv_sec + 1e-6 * time.tv_nsec;
}

double Now() { return Milliseconds(CLOCK_MONOTONIC); }

void Say(const std::string& event, const std::string& fields) {
  std::printf("{\"event\":%s%s%s}\n", Quoted(event).c_str(), fields.empty() ? "" : ",",
              fields.c_str());
  std::fflush(stdout);
}

std::string Field(const char* name, const std::string& value) {
  return Quoted(name) + ":" + value;
}

// A line of /proc/self/status, in bytes; 0 where there is none.
double MemoryBytes(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key, 0) == 0) return 1024 * std::atof(line.c_str() + std::strlen(key));
  }
  return 0;
}

void Pin(const std::vector<int>& cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) {
    if (core >= 0 && core < CPU_SETSIZE) CPU_SET(core, &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    throw std::runtime_error(std::string("cannot run on the cores that were asked for: ") +
                             std::strerror(errno));
  }
}

struct Libraries {
  TfLiteC api;
  DelegateLibrary delegate;
  bool has_delegate;

  const DelegateLibrary* For(const Row& row) const { return row.is_sparse ? &delegate : nullptr; }
};

Libraries LoadLibraries(const Job& job) {
  Libraries libraries = {LoadTfLite(job.runtime), {}, !job.delegate.empty()};
  if (libraries.has_delegate) libraries.delegate = LoadDelegate(job.delegate);
  return libraries;
}

// In a process of its own: what loading and a first run of a row take.
std::string MeasureLoad(const Job& job, int place) {
  const Row& row = job.rows[place];
  const Libraries libraries = LoadLibraries(job);
  std::ofstream("/proc/self/clear_refs") << "5";  // sets the peak back to the present
  const double before = MemoryBytes("VmRSS:"), start = Now();
  Model model(libraries.api, libraries.For(row), job, row);
  const double loaded = Now();
  model.Invoke();
  const double finished = Now();
  return Field("row", std::to_string(place)) + "," + Field("load_ms", Number(loaded - start)) +
         "," + Field("first_run_ms", Number(finished - loaded)) + "," +
         Field("peak_memory_bytes", Number(MemoryBytes("VmHWM:") - before));
}

// Returns whether the row can be run here. A runtime that crashes takes only the child with it.
bool ForkLoad(const Job& job, int place) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("cannot start a process");
  if (child == 0) {
    try {
      Say("load", MeasureLoad(job, place));
    } catch (const std::exception& error) {
      Say("refused", Field("row", std::to_string(place)) + "," +
                         Field("error", Quoted(error.what())));
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    const std::string error = "the runtime crashed with signal " + std::to_string(WTERMSIG(status));
    Say("refused", Field("row", std::to_string(place)) + "," + Field("error", Quoted(error)));
  }
  return status == 0;
}

std::string SensorFields(const Reading& reading) {
  return Field("clock_khz", List(reading.clock_khz)) + "," +
         Field("temperature", List(reading.temperature)) + "," +
         Field("cooling", Number(static_cast<double>(reading.cooling)));
}

struct Turn {
  double first;
  std::vector<double> samples, cpu;
};

Turn TakeTurn(Model* model, int burst) {
  Turn turn = {};
  for (int i = 0; i <= burst; ++i) {
    const double cpu = Milliseconds(CLOCK_PROCESS_CPUTIME_ID), start = Now();
    model->Invoke();
    const double taken = Now() - start;
    // The run right after another file's finds its data out of the caches.
    if (i == 0) {
      turn.first = taken;
    } else {
      turn.samples.push_back(taken);
      turn.cpu.push_back(Milliseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    }
  }
  return turn;
}

// Writes what a row gives for each example, and says what it is made of.
void Compare(Model* model, int place) {
  const std::string name = "out" + std::to_string(place) + ".bin";
  std::ofstream file(name, std::ios::binary);
  for (int i = 0; i < model->examples(); ++i) {
    model->SetExample(i);
    model->Invoke();
    file << model->OutputBytes();
  }
  file.close();
  if (!file) throw std::runtime_error("cannot write " + name + ": " + std::strerror(errno));
  model->SetExample(0);
  Say("open", Field("row", std::to_string(place)) + "," + Field("outputs", model->OutputsJson()) +
                  "," + Field("file", Quoted(name)) + "," +
                  Field("examples", std::to_string(model->examples())) + "," +
                  Field("left", List(std::vector<int>{model->after_sparse().left,
                                                      model->after_all().left})) +
                  "," +
                  Field("pieces", List(std::vector<int>{model->after_sparse().pieces,
                                                        model->after_all().pieces})) +
                  "," +
                  Field("report", Quoted(model->Report())) + "," +
                  Field("unmeasured", Quoted(model->Unmeasured())) + "," +
                  Field("processor", Quoted(model->Processor())));
}

void Run(const Job& job) {
  alarm(static_cast<unsigned>(job.limit));
  std::ofstream("pid") << getpid() << "\n";
  Pin(job.cores);
  const Sensors sensors(job.sys, job.cores);
  utsname system = {};
  uname(&system);
  Say("start", Field("pid", std::to_string(getpid())) + "," +
                   Field("machine", Quoted(system.machine)) + "," +
                   Field("zones", List(sensors.zones(), Quoted)) + "," +
                   SensorFields(sensors.Read()));
  std::vector<int> places;
  for (size_t i = 0; i < job.rows.size(); ++i) {
    bool is_fine = true;
    for (int load = 0; load < job.loads && is_fine; ++load) is_fine = ForkLoad(job, i);
    if (is_fine) places.push_back(static_cast<int>(i));
  }
  const Libraries libraries = LoadLibraries(job);
  std::vector<std::unique_ptr<Model>> models;
  for (int place : places) {
    const Row& row = job.rows[place];
    models.push_back(std::make_unique<Model>(libraries.api, libraries.For(row), job, row));
    Compare(models.back().get(), place);
    for (int i = 0; i < job.warmup; ++i) models.back()->Invoke();
  }
  const double start = Now();
  const int rounds = job.rounds == 0 ? 0 : std::max(job.rounds, kFewestRounds);
  for (int round = 0; round < rounds && !models.empty(); ++round) {
    if (round >= kFewestRounds && Now() - start > 1e3 * job.seconds) break;
    std::vector<Turn> turns(models.size());
    for (size_t i = 0; i < models.size(); ++i) {
      const size_t which = (round + i) % models.size();
      turns[which] = TakeTurn(models[which].get(), job.burst);
    }
    Say("round", Field("at_ms", Number(Now() - start)) + "," + SensorFields(sensors.Read()) + "," +
                     Field("rows", List(places)) + "," +
                     Field("first_ms", List(turns, [](const Turn& t) { return Number(t.first); })) +
                     "," + Field("samples_ms", List(turns, [](const Turn& t) {
                             return List(t.samples);
                           })) +
                     "," + Field("cpu_ms", List(turns, [](const Turn& t) { return List(t.cpu); })));
  }
  Say("end", Field("runtime", Quoted(libraries.api.Version())) + "," +
                 SensorFields(sensors.Read()));
}

}  // namespace
}  // namespace tf_prune_ofa::runner

int main(int argc, char** argv) {
  using namespace tf_prune_ofa::runner;
  if (argc != 2) {
    std::fprintf(stderr, "usage: tf_prune_ofa_runner JOB | --check\n");
    return 2;
  }
  if (std::string(argv[1]) == "--check") {
    utsname system = {};
    uname(&system);
    std::printf("runs on %s\n", system.machine);
    return 0;
  }
  try {
    Run(ReadJob(argv[1]));
  } catch (const std::exception& error) {
    Say("failed", Field("error", Quoted(error.what())));
    return 1;
  }
}
