#pragma once
/// Who holds a claim, and whether it still lives. Local but for this_run().

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace concord::io {

struct ClaimOwner {
  struct Process {
    Index pid = 0;
    Index start = 0; ///< clock ticks since the host's boot: a recycled pid has another
  };
  std::string token; ///< of this claim alone
  std::string host;
  std::string boot;               ///< the kernel's id of the host's last boot
  std::string processes_space;    ///< the pid namespace: pids mean nothing in another one
  std::vector<Process> processes; ///< the run's on that host
  bool other_hosts = false;       ///< whether it has ranks elsewhere
  std::string cluster, job, step; ///< of Slurm; "" without it
  Index restarts = 0;             ///< of the job
  std::string began;

  nlohmann::json json() const;
};

/// Of the run that `comm` belongs to, on rank 0, with a new token. Collective over `comm`.
ClaimOwner this_run(const comm::Communicator& comm);

/// What stands in a claim; nothing where there is none. One that cannot be understood has an owner without a token.
std::optional<ClaimOwner> owner_in(const std::filesystem::path& claim);

/// Whether the owner is provably gone, as seen by `me`; `silent`: seconds since it last renewed its claim.
bool is_gone(const ClaimOwner& owner, const ClaimOwner& me, double silent);

/// "pid 4711 on node3 (Slurm job 77.0), begun 2026-01-31T12:00:00Z".
std::string described(const ClaimOwner& owner);

} // namespace concord::io
