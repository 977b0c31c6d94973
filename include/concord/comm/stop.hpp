#pragma once
/// The stop flag: SIGUSR1, SIGTERM, SIGINT and --max-time ask for an early, resumable end (exit code 75). A second SIGINT ends the program
/// at once.

#include "concord/comm/session.hpp"

#include <chrono>
#include <memory>

namespace concord::comm {

/// Installs the signal handlers. The first thing that the program does: a signal that comes before would kill it. Local.
void catch_stop_signals();
/// Starts the clock; `max_seconds` <= 0 means no limit. Local.
void limit_time(double max_seconds);
/// Both, and forgets the signals that came before. Local.
void install_stop_flag(double max_seconds);

/// Whether this rank was asked to stop or is out of time; from then on it stays so. Local: a rank that leaves a loop by it must come to a
/// stop_requested() that all ranks reach, which then is true on all.
bool stop_wanted_here();

/// Whether any rank was asked to stop or is out of time. Collective over `comm`; once a step.
bool stop_requested(const Communicator& comm);

/// Looks for a stop inside one unit of work (a layer, a pair of layers), which is lost by it: only once the unit has taken `grace` seconds.
/// So a run that is always cut short ends its short units all the same.
class StopWithin {
public:
  /// The unit begins; a part of a unit (UnitOfWork) is heeded no later than the unit. Local.
  explicit StopWithin(double grace = 5);
  /// Whether to leave the loop at hand and come to throw_if_wanted(). Local; from any thread.
  bool wanted_here() const;
  /// @throws Error stopped, agreed, where any rank wants it. Collective over `comm`.
  void throw_if_wanted(const Communicator& comm, const char* stage) const;

private:
  friend class UnitOfWork;
  std::chrono::steady_clock::time_point heeded_from_;
};

/// While it lives, what is made of StopWithin on this thread looks within parts of that unit: many short parts must not put a stop off as
/// if each were all. Units may lie in each other. Local.
class UnitOfWork {
public:
  explicit UnitOfWork(const StopWithin& unit);
  ~UnitOfWork();
  UnitOfWork(const UnitOfWork&) = delete;
  UnitOfWork& operator=(const UnitOfWork&) = delete;

private:
  std::chrono::steady_clock::time_point outer_;
};

/// Groups of the ranks of `comm` that work apart: while it lives, a stop that one rank is asked for is asked of every rank. A rank hears of
/// it when its main thread looks (stop_wanted_here() and all that rests on it), without waiting for others. One at a time.
class StopAcross {
public:
  /// Local; `comm` must outlive it.
  explicit StopAcross(const Communicator& comm);
  ~StopAcross();
  StopAcross(const StopAcross&) = delete;
  StopAcross& operator=(const StopAcross&) = delete;
  /// Waits until every rank is here and hands on stops meanwhile; behind it all ranks have heard of the same ones. Collective over `comm`,
  /// before ranks of several groups enter any other collective call together.
  void meet();

private:
  friend bool stop_wanted_here();
  struct Notices;
  std::unique_ptr<Notices> notices_;
};

/// The same question without waiting for the slowest rank at each step: a vote is cast once a step and read `lag` steps
/// later, so ranks that are at different steps of a pipeline still stop in front of the same one.
class StopVote {
public:
  /// Every rank of `comm` makes one, with the same lag >= 1. Collective.
  StopVote(const Communicator& comm, int lag);
  ~StopVote();
  StopVote(const StopVote&) = delete;
  StopVote& operator=(const StopVote&) = delete;
  /// Whether all ranks stop in front of this step; else casts this step's vote. Each rank calls it once a step; waits at
  /// most for ranks that are `lag` steps behind.
  bool stop_before_step() { return stop_before_step(stop_wanted_here()); }
  /// The same where this rank wants to stop for reasons of its own.
  bool stop_before_step(bool wanted);
  /// Completes the votes still under way. Collective: after the same number of steps on every rank.
  void end();
  /// Lets messages under way move on. Local.
  void progress();

private:
  struct Votes;
  std::unique_ptr<Votes> votes_;
};

/// Throws Error(stopped), agreed, saying how to go on.
[[noreturn]] void throw_stopped(const char* stage);
/// The same where stop_requested(). Collective over `comm`.
void stop_if_requested(const Communicator& comm, const char* stage);

} // namespace concord::comm
