#pragma once
// Where the time of a stage's ranks goes: useful work, communication, waiting, files. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/run/region.hpp"
#include "concord/core/run/spent.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace concord::app {

/// What one rank did in a stage.
struct RankTimes {
  double elapsed = 0; ///< seconds
  double mpi = 0;
  double files = 0;
  double gpu = 0;                                    ///< its GPU in exchanges with others
  double calls = 0;                                  ///< of MPI
  double bytes = 0;                                  ///< from and to files
  double node = 0;                                   ///< number of its node
  double communication() const { return mpi + gpu; } ///< and waiting for others there
  double useful() const { return elapsed > communication() + files ? elapsed - communication() - files : 0; }
};

/// The metrics of POP (Rosas, Gimenez and Labarta 2014) from all ranks, under the keys of TALP: load balance = mean / largest useful time,
/// within and between nodes; communication efficiency = largest useful time / run time; parallel efficiency = their product. Beside them
/// the split into useful, communication, waiting and files: least, mean and largest over ranks, in seconds. Communication is time in MPI,
/// and that of GPUs in exchanges of their own (note_gpu_exchange()). The rank that is least there waits for nobody: its time there is
/// communication, what others spend there beyond it is waiting. Local. @param ranks  not empty
nlohmann::json pop_metrics(std::span<const RankTimes> ranks);

/// Measures a stage from its beginning to finish().
class StageProfile {
public:
  /// Local. @param stage  the name of its region in Caliper, where concord was built with it
  StageProfile(const comm::Communicator& comm, const std::string& stage);
  /// Adds the stage to `folder`/profile.json, as a region of what TALP-Pages reads, where the stage did something; and this rank's trace to
  /// `folder`/trace where one is kept. What cannot be written is said. Collective.
  /// @param share  " 2 of 8" of a run that makes a share of a stage's units: its profile is a file of its own; else ""
  void finish(const std::string& stage, const std::filesystem::path& folder, const std::string& share = "");

private:
  /// Local. @throws Error io.
  void write(const std::string& stage, const std::filesystem::path& folder, const std::string& share,
             const std::vector<RankTimes>& ranks) const;
  const comm::Communicator& comm_;
  Spent before_;
  double begin_;
  Index stages_;
  Region region_;
};

/// Ranks [0, ranks) keep a trace of the stages that follow; 0: none. Local.
void trace_ranks(int ranks);

} // namespace concord::app
