#pragma once
/// Where the time of this process's main thread goes: in calls of MPI, in files, in exchanges of its GPU with others, and the rest, which
/// is useful work. Local.

#include "concord/core/index.hpp"

#include <string>

namespace concord {

/// What waits: calls that other ranks take part in, or files.
enum class Spending { mpi, files };

/// Since the program began.
struct Spent {
  double mpi = 0;   ///< seconds
  double files = 0; ///< seconds; reading and writing through HDF5 and MPI-IO, waiting for a thread that reads or writes
  double gpu = 0;   ///< seconds that its GPU was in collective calls of GPUs, by the clock of the GPU
  Index calls = 0;  ///< of MPI
  Index bytes = 0;  ///< moved from and to files by any thread
};
Spent spent();
Spent operator-(const Spent& later, const Spent& earlier);

/// Adds what was moved from or to a file. Thread-safe.
void note_file_bytes(Index bytes);

/// Adds what a collective call of GPUs took on this process's one, known once it is done. The main thread queues it and goes on; where it
/// is in MPI or files meanwhile, that time counts as both. From the main thread.
void note_gpu_exchange(double seconds);

/// While it lives, the time of the main thread is spent so. The outermost counts: HDF5 calls MPI, and MPI itself. On other threads it does
/// nothing. Costs some 50 ns.
class Spend {
public:
  /// @param name  of the call, for a trace; lives as long as the program
  explicit Spend(Spending what, const char* name = "");
  ~Spend();
  Spend(const Spend&) = delete;
  Spend& operator=(const Spend&) = delete;

private:
  Spending what_;
  const char* name_;
  bool counts_;
  double begin_ = 0;
};

/// Seconds of a steady clock.
double steady_seconds();

/// From now on each of these spans is kept for a trace, up to a million of them. Local.
void keep_trace();
/// Kept spans of the stages, calls of MPI and files since the last call, as Chrome and Perfetto read them: {"traceEvents": [...]} with the
/// rank as the process. Local.
std::string take_trace(const std::string& stage, int rank, double begin);

} // namespace concord
