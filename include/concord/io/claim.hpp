#pragma once
/// An exclusive claim on an output for the time of a stage: two runs never write one file.
///
/// The claim on `DIR/NAME` is the file `DIR/.NAME.claim`, made by link(2), so that it is there whole or not at all, on any file system that
/// several hosts share. It says who holds it: host, boot, processes with their start times, Slurm job and step. Readers of finished files
/// need no claim. One whose owner is provably gone is taken over; docs/operating.md says what is proof.

#include "concord/comm/session.hpp"

#include <filesystem>
#include <memory>

namespace concord::io {

/// What to do where another run holds an output. Set once at the start, on every rank alike.
struct ClaimPolicy {
  bool wait = false;  ///< until it is given back; else end with ExitCode::stopped
  bool steal = false; ///< take it, whoever holds it: its owner ends itself when it notices
};
ClaimPolicy& claim_policy();

class Claim {
public:
  /// Takes the claim on `path`, whose folder is made if need be. Rank 0 decides; while it waits all ranks look for the stop signal.
  /// Collective over `comm`. @throws Error stopped, agreed, saying who holds it; io where the folder cannot be written.
  Claim(const comm::Communicator& comm, const std::filesystem::path& path);
  /// Gives it back. Local.
  ~Claim();
  Claim(Claim&&) noexcept;
  Claim& operator=(Claim&&) noexcept;

private:
  struct Held;
  std::unique_ptr<Held> held_; ///< on rank 0
};

} // namespace concord::io
