#include "cost/calibrate/links.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/run/spent.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <exception>
#include <fcntl.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace concord::cost {

namespace {

/// Leaves its core to others.
void wait_quietly(MPI_Request request) {
  int done = 0;
  while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done == 0)
    std::this_thread::sleep_for(std::chrono::microseconds(500));
}

} // namespace

void quiet_barrier(const comm::Communicator& comm) {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(comm, &request);
  wait_quietly(request);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<Index>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

namespace {

/// Of a rank of one thread those that its thread runs, so that other programs on its core do not count; of more threads those of a clock.
double seconds_of_threads() {
  if (thread_count() > 1) return steady_seconds();
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Counts the runs of a measurement, of which each takes the same seconds on every rank.
class Runs {
public:
  explicit Runs(const Effort& effort) : effort_(effort) {}
  /// Notes a run. Whether another one is to follow.
  bool goes_on(double seconds) {
    passed_ += seconds;
    if (begun_) times_.push_back(std::max(1e-9, seconds));
    begun_ = true;
    return times_.empty() || (static_cast<int>(times_.size()) < effort_.repeats && passed_ + seconds <= effort_.seconds);
  }
  double seconds() const { return median(times_); }

private:
  const Effort& effort_;
  std::vector<double> times_;
  double passed_ = 0;
  bool begun_ = false;
};

/// One run: its seconds that count, and those by the clock.
struct Run {
  double seconds = 0;
  double by_clock = 0;
};
Run one(const std::function<void()>& run) {
  const double by_clock = steady_seconds(), begin = seconds_of_threads();
  run();
  const double seconds = seconds_of_threads() - begin;
  return {std::max(1e-9, seconds), steady_seconds() - by_clock};
}

/// The slowest rank's, and whether all came to its end; the same on every rank.
std::pair<Run, bool> slowest_of(const comm::Communicator& comm, const Run& mine, bool failed) {
  double most[] = {mine.seconds, mine.by_clock, failed ? 1.0 : 0.0};
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Iallreduce(MPI_IN_PLACE, most, 3, MPI_DOUBLE, MPI_MAX, comm, &request);
  wait_quietly(request);
  return {{most[0], most[1]}, most[2] == 0};
}

/// How many runs are counted after a first one that took so long on the slowest rank; 0: it is the only one and counts itself.
int runs_after(const Run& first, const Effort& effort) {
  constexpr double is_long = 0.5; // seconds
  if (first.seconds >= is_long) return 0;
  return static_cast<int>(std::clamp(effort.seconds / std::max(1e-9, first.by_clock) - 1, 1.0, static_cast<double>(effort.repeats)));
}

} // namespace

double timed(const comm::Communicator& comm, bool takes_part, const Effort& effort, const std::function<void()>& run) {
  Run first;
  double seconds = 0;
  std::exception_ptr failure;
  const auto guarded = [&](const std::function<void()>& runs) { // not inside agree(): whoever waits there keeps its core busy
    if (!takes_part || failure) return;
    try {
      runs();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  quiet_barrier(comm);
  guarded([&] { first = one(run); });
  const auto [slowest, fine] = slowest_of(comm, first, failure != nullptr);
  if (fine) {
    guarded([&] {
      std::vector<double> times;
      for (int left = runs_after(slowest, effort); left > 0; --left) times.push_back(one(run).seconds);
      seconds = times.empty() ? first.seconds : median(times);
    });
  }
  quiet_barrier(comm);
  comm::agree(comm, [&] {
    if (failure) std::rethrow_exception(failure);
  });
  const double ranks = comm::sum_of(comm, takes_part ? 1.0 : 0.0);
  return comm::sum_of(comm, seconds) / std::max(1.0, ranks);
}

namespace {

/// What `run` takes, the slowest rank's, on every rank.
double slowest(const comm::Communicator& comm, const Effort& effort, const std::function<void()>& run) {
  Runs runs(effort);
  while (true) {
    comm.barrier();
    const double begin = steady_seconds();
    run();
    const double seconds = comm::max_of(comm, steady_seconds() - begin);
    if (!runs.goes_on(seconds)) return runs.seconds();
  }
}

} // namespace

double measured_latency(const comm::Communicator& comm, const Effort& effort) {
  constexpr int calls = 200;
  const double seconds = slowest(comm, effort, [&] {
    for (int call = 0; call < calls; ++call) {
      double value = 1;
      MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_SUM, comm);
    }
  });
  return seconds / calls / std::ceil(std::log2(comm.size()));
}

double measured_bandwidth(const comm::Communicator& comm, const Effort& effort) {
  constexpr int swaps = 8, bytes = 4 << 20;
  const int half = comm.size() / 2, other = (comm.rank() + half) % (2 * half);
  std::vector<char> out(bytes, 1), in(bytes, 0);
  const double seconds = slowest(comm, effort, [&] {
    for (int swap = 0; swap < swaps && comm.rank() < 2 * half; ++swap)
      MPI_Sendrecv(out.data(), bytes, MPI_CHAR, other, 0, in.data(), bytes, MPI_CHAR, other, 0, comm, MPI_STATUS_IGNORE);
  });
  return static_cast<double>(swaps) * bytes / seconds;
}

double measured_memory(const comm::Communicator& comm, const comm::Communicator& node, const Effort& effort) {
  constexpr std::size_t count = std::size_t{8} << 20; // 64 MiB, beyond caches
  std::vector<double> from(count, 1.0), to(count, 0.0);
  const int threads = thread_count();
  const std::size_t each = (count + at(threads) - 1) / at(threads);
  const double seconds = timed(comm, true, effort, [&] {
    for_each_item(threads, threads, [&](int, Index item) {
      const std::size_t begin = std::min(count, at(item) * each), end = std::min(count, begin + each);
      std::copy(from.begin() + static_cast<Index>(begin), from.begin() + static_cast<Index>(end), to.begin() + static_cast<Index>(begin));
    });
  });
  const double bytes = 2.0 * count * sizeof(double);
  const double nodes = comm::sum_of(comm, 1.0 / node.size());
  return bytes / seconds * comm.size() / nodes;
}

namespace {

/// A file of this rank, which goes with it.
class Scratch {
public:
  Scratch(std::filesystem::path path, double bytes) : path_(std::move(path)), piece_(std::size_t{1} << 20, 'x') {
    pieces_ = std::max(1, static_cast<int>(bytes / static_cast<double>(piece_.size())));
  }
  ~Scratch() {
    std::error_code gone_already;
    std::filesystem::remove(path_, gone_already);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  double bytes() const { return static_cast<double>(pieces_) * static_cast<double>(piece_.size()); }

  void write() const {
    const Opened file(path_, O_WRONLY | O_CREAT | O_TRUNC);
    for (int i = 0; i < pieces_; ++i) check(::write(file.number, piece_.data(), piece_.size()), "written");
    require(fdatasync(file.number) == 0, ExitCode::io, "{} cannot be synchronised: {}", path_.string(), std::strerror(errno));
  }
  /// Lets the page cache go first.
  void forget() const {
    const Opened file(path_, O_RDONLY);
    posix_fadvise(file.number, 0, 0, POSIX_FADV_DONTNEED);
  }
  void read() {
    const Opened file(path_, O_RDONLY);
    for (int i = 0; i < pieces_; ++i) check(::read(file.number, piece_.data(), piece_.size()), "read");
  }

private:
  struct Opened {
    Opened(const std::filesystem::path& path, int flags) : number(::open(path.c_str(), flags, 0644)) {
      require(number >= 0, ExitCode::io, "{} cannot be opened: {}; give a folder to write in with --work", path.string(),
              std::strerror(errno));
    }
    ~Opened() { ::close(number); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    int number;
  };
  void check(ssize_t moved, const char* what) const {
    require(moved == static_cast<ssize_t>(piece_.size()), ExitCode::io, "{} cannot be {}: {}", path_.string(), what,
            moved < 0 ? std::strerror(errno) : "it is cut short");
  }
  std::filesystem::path path_;
  std::vector<char> piece_;
  int pieces_ = 1;
};

} // namespace

FileSpeeds measured_files(const comm::Communicator& comm, const comm::Communicator& node, const std::filesystem::path& folder, double bytes,
                          const Effort& effort) {
  Scratch file(folder / fmt::format("file_{}", comm.rank()), bytes);
  const bool first_node = comm::node_number(comm) == 0;
  const bool several = node.size() < comm.size();
  const Effort each{effort.repeats, effort.seconds / (several ? 6 : 4)};
  const auto speed = [&](bool takes_part, const std::function<void()>& before, const std::function<void()>& run) {
    Runs runs(each);
    double seconds = 0;
    do {
      comm::agree(comm, [&] {
        if (takes_part) before();
      });
      comm.barrier();
      const double begin = steady_seconds();
      comm::agree(comm, [&] {
        if (takes_part) run();
      });
      seconds = comm::max_of(comm, steady_seconds() - begin);
    } while (runs.goes_on(seconds));
    return comm::sum_of(comm, takes_part ? 1.0 : 0.0) * file.bytes() / runs.seconds();
  };
  FileSpeeds speeds;
  const bool all[] = {comm.rank() == 0, first_node, true};
  double* writes[] = {&speeds.writes.rank, &speeds.writes.node, &speeds.writes.all};
  double* reads[] = {&speeds.reads.rank, &speeds.reads.node, &speeds.reads.all};
  for (int i = 0; i < 3; ++i) {
    if (i == 2 && !several) continue; // the one node is all
    *writes[i] = speed(
        all[i], [] {}, [&] { file.write(); });
    *reads[i] = speed(
        all[i], [&] { file.forget(); }, [&] { file.read(); });
  }
  if (several) return speeds;
  speeds.writes.all = speeds.writes.node;
  speeds.reads.all = speeds.reads.node;
  return speeds;
}

} // namespace concord::cost
