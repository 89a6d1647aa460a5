#include "job.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace tf_prune_ofa::runner {
namespace {

std::vector<int> Numbers(const std::string& text) {
  std::vector<int> numbers;
  std::stringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) numbers.push_back(std::stoi(item));
  return numbers;
}

void ReadLine(const std::string& key, std::istream& values, Job* job) {
  std::string word;
  if (key == "row") {
    Row row;
    if (!(values >> row.model >> word >> row.threads >> row.inputs) || row.threads < 1 ||
        (word != "sparse" && word != "stock")) {
      throw std::runtime_error("row MODEL stock|sparse THREADS INPUTS [KEY=VALUE]...");
    }
    row.is_sparse = word == "sparse";
    while (values >> word) {
      const size_t place = word.find('=');
      if (place == std::string::npos) throw std::runtime_error("an option without a value");
      row.options.emplace_back(word.substr(0, place), word.substr(place + 1));
    }
    job->rows.push_back(row);
  } else if (key == "option") {
    std::pair<std::string, std::string> option;
    if (!(values >> option.first >> option.second)) throw std::runtime_error("option KEY VALUE");
    job->options.push_back(option);
  } else if (!(values >> word)) {
    throw std::runtime_error("no value");
  } else if (key == "runtime") {
    job->runtime = word;
  } else if (key == "delegate") {
    job->delegate = word;
  } else if (key == "cores") {
    job->cores = Numbers(word);
  } else if (key == "sys") {
    job->sys = word;
  } else if (key == "seconds") {
    job->seconds = std::stod(word);
  } else {
    int* number = key == "warmup"     ? &job->warmup
                  : key == "rounds"   ? &job->rounds
                  : key == "burst"    ? &job->burst
                  : key == "loads"    ? &job->loads
                  : key == "examples" ? &job->examples
                  : key == "limit"    ? &job->limit
                                      : nullptr;
    if (number == nullptr) throw std::runtime_error("unknown");
    *number = std::stoi(word);
    if (*number < (key == "warmup" || key == "rounds" ? 0 : 1)) throw std::runtime_error("too small");
  }
}

}  // namespace

Job ReadJob(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  Job job;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    std::stringstream values(line);
    std::string key;
    if (!(values >> key) || key[0] == '#') continue;
    try {
      ReadLine(key, values, &job);
    } catch (const std::exception& error) {
      throw std::runtime_error(path + ", line " + std::to_string(number) + ", " + key + ": " +
                               error.what());
    }
  }
  if (job.rows.empty()) throw std::runtime_error(path + " has no row");
  return job;
}

}  // namespace tf_prune_ofa::runner
