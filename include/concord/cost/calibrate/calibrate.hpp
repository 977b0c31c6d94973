#pragma once
/// `concord calibrate`: the constants of a machine, measured with the program's own kernels. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/cost/machine.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::cost {

struct CalibrateOptions {
  std::filesystem::path work = "."; ///< a folder of the file system to measure; what is written there is removed again
  std::filesystem::path out = {};   ///< machine file to write; empty: none
  int repeats = 5;                  ///< of each measurement, at most, of which the median counts
  /// For all of it: what is left is shared by the measurements to come. Each runs twice in any case, long ones once.
  double seconds = 40;
  double file_mib = 64; ///< that each rank writes and reads
  double part = 1;      ///< of the sizes of the kernels' matrices; small ones run at other rates
};

/// How well the constants fit one of the kernels that they were measured by.
struct FittedProbe {
  std::string name;
  double seconds = 0; ///< alone
  double fitted = 0;
  double slower = 1; ///< with all ranks of the node, over alone
};

struct Calibration {
  Machine machine;
  std::vector<FittedProbe> probes;
};

/// Takes `seconds`, or as long as two runs of each measurement do (one where it is long), if that is more. Each kernel runs on one rank of
/// each node while the others rest, then on all of them. What the job cannot measure (links between nodes on one node, links of one rank)
/// is taken from default_machine(), and the machine's source says so. The same on every rank. @throws Error usage, input_missing without
/// `work`, io where it cannot be written, stopped; agreed.
Calibration calibrate(const comm::Communicator& comm, const CalibrateOptions& options);

} // namespace concord::cost
