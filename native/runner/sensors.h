// What Linux says of clock and temperature.
#ifndef TF_PRUNE_OFA_RUNNER_SENSORS_H_
#define TF_PRUNE_OFA_RUNNER_SENSORS_H_

#include <string>
#include <vector>

namespace tf_prune_ofa::runner {

struct Reading {
  std::vector<long> clock_khz;    // of the cores that are used; empty where it cannot be read
  std::vector<long> temperature;  // of each zone, in thousandths of a degree Celsius
  long cooling = 0;               // steps by which the kernel holds processors back
};

class Sensors {
 public:
  // `sys` is where sysfs is mounted; no cores means all.
  Sensors(const std::string& sys, const std::vector<int>& cores);

  Reading Read() const;

  // Kinds of the zones, in the order of Reading::temperature.
  const std::vector<std::string>& zones() const { return zone_kinds_; }

 private:
  std::vector<std::string> clocks_, zones_, zone_kinds_, coolers_;
};

}  // namespace tf_prune_ofa::runner

#endif  // TF_PRUNE_OFA_RUNNER_SENSORS_H_
