#include "sensors.h"

#include <dirent.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace tf_prune_ofa::runner {
namespace {

// Enough for any phone; some list a hundred zones, and each takes a system call or two.
constexpr size_t kMostZones = 24;

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// False where there is no number: Linux answers some with an error.
bool ReadNumber(const std::string& path, long* number) {
  const std::string line = FirstLine(path);
  char* end = nullptr;
  *number = std::strtol(line.c_str(), &end, 10);
  return end != line.c_str();
}

// Folders PREFIX0, PREFIX1, ... in the order of their numbers.
std::vector<std::string> Numbered(const std::string& folder, const std::string& prefix) {
  std::vector<std::pair<long, std::string>> found;
  if (DIR* directory = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(directory)) {
      const std::string name = entry->d_name;
      char* end = nullptr;
      if (name.rfind(prefix, 0) != 0 || name.size() == prefix.size()) continue;
      const long number = std::strtol(name.c_str() + prefix.size(), &end, 10);
      if (*end == 0) found.emplace_back(number, folder + "/" + name);
    }
    closedir(directory);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> paths;
  for (const auto& entry : found) paths.push_back(entry.second);
  return paths;
}

}  // namespace

Sensors::Sensors(const std::string& sys, const std::vector<int>& cores) {
  const std::string processors = sys + "/devices/system/cpu";
  std::vector<std::string> folders;
  for (int core : cores) folders.push_back(processors + "/cpu" + std::to_string(core));
  if (cores.empty()) folders = Numbered(processors, "cpu");
  long number;
  for (const std::string& folder : folders) {
    const std::string path = folder + "/cpufreq/scaling_cur_freq";
    if (ReadNumber(path, &number)) clocks_.push_back(path);
  }
  for (const std::string& folder : Numbered(sys + "/class/thermal", "thermal_zone")) {
    if (zones_.size() == kMostZones || !ReadNumber(folder + "/temp", &number)) continue;
    zones_.push_back(folder + "/temp");
    zone_kinds_.push_back(FirstLine(folder + "/type"));
  }
  for (const std::string& folder : Numbered(sys + "/class/thermal", "cooling_device")) {
    const std::string kind = FirstLine(folder + "/type");
    const bool is_processor = kind == "Processor" || kind.find("cpu") != std::string::npos;
    if (is_processor && ReadNumber(folder + "/cur_state", &number)) {
      coolers_.push_back(folder + "/cur_state");
    }
  }
}

Reading Sensors::Read() const {
  Reading reading;
  long number;
  for (const std::string& path : clocks_) {
    if (ReadNumber(path, &number)) reading.clock_khz.push_back(number);
  }
  for (const std::string& path : zones_) {
    reading.temperature.push_back(ReadNumber(path, &number) ? number : 0);
  }
  for (const std::string& path : coolers_) {
    if (ReadNumber(path, &number)) reading.cooling += number;
  }
  return reading;
}

}  // namespace tf_prune_ofa::runner
