#include "app/results/profile.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

int& traced_ranks() {
  static int ranks = 0;
  return ranks;
}

nlohmann::json spread_of(std::span<const RankTimes> ranks, double (*value)(const RankTimes&, double), double least_mpi) {
  double least = INFINITY, largest = 0, sum = 0;
  for (const RankTimes& rank : ranks) {
    const double v = value(rank, least_mpi);
    least = std::min(least, v);
    largest = std::max(largest, v);
    sum += v;
  }
  return {{"min", least}, {"mean", sum / static_cast<double>(ranks.size())}, {"max", largest}};
}

/// The largest mean of useful time over the ranks of a node.
double busiest_node(std::span<const RankTimes> ranks) {
  std::map<double, std::pair<double, double>> nodes; // useful time, ranks
  for (const RankTimes& rank : ranks) {
    nodes[rank.node].first += rank.useful();
    nodes[rank.node].second += 1;
  }
  double most = 0;
  for (const auto& [node, sums] : nodes) most = std::max(most, sums.first / sums.second);
  return most;
}

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : 1.0;
}

nlohmann::json read_profile(const fs::path& path) {
  const auto text = try_read(path);
  auto profile = text ? parse_json(*text) : nlohmann::json();
  const bool sound = profile.is_object() && profile.value("Application", nlohmann::json::object()).is_object();
  return sound ? profile : nlohmann::json::object(); // a damaged one is made anew
}

} // namespace

nlohmann::json pop_metrics(std::span<const RankTimes> ranks) {
  const auto count = static_cast<double>(ranks.size());
  double elapsed = 0, useful = 0, longest = 0, mpi = 0, calls = 0, bytes = 0, least_mpi = INFINITY;
  std::map<double, int> nodes;
  for (const RankTimes& rank : ranks) {
    elapsed = std::max(elapsed, rank.elapsed);
    useful += rank.useful();
    longest = std::max(longest, rank.useful());
    mpi += rank.communication();
    least_mpi = std::min(least_mpi, rank.communication());
    calls += rank.calls;
    bytes += rank.bytes;
    ++nodes[rank.node];
  }
  const double between = busiest_node(ranks);
  constexpr double ns = 1e9;
  const double balance = ratio(useful / count, longest), communication = ratio(longest, elapsed);
  const auto whole = [](double value) { return static_cast<std::int64_t>(std::llround(value)); };
  return {{"numCpus", ranks.size()},
          {"numMpiRanks", ranks.size()},
          {"numNodes", nodes.size()},
          {"avgCpus", count},
          {"elapsedTime", whole(elapsed * ns)},
          {"usefulTime", whole(useful * ns)},
          {"mpiTime", whole(mpi * ns)},
          {"numMpiCalls", whole(calls)},
          {"cycles", whole(useful * ns)}, // without hardware counters: nanoseconds of useful work stand for cycles and instructions
          {"instructions", whole(useful * ns)},
          {"parallelEfficiency", balance * communication},
          {"mpiParallelEfficiency", balance * communication},
          {"mpiLoadBalance", balance},
          {"mpiLoadBalanceIn", ratio(between, longest)},
          {"mpiLoadBalanceOut", ratio(useful / count, between)},
          {"mpiCommunicationEfficiency", communication},
          {"fileBytes", whole(bytes)},
          {"threads", thread_count()},
          {"seconds",
           {{"elapsed", elapsed},
            {"useful", spread_of(
                           ranks, [](const RankTimes& r, double) { return r.useful(); }, 0)},
            {"communication", least_mpi},
            {"waiting", spread_of(
                            ranks, [](const RankTimes& r, double least) { return r.communication() - least; }, least_mpi)},
            {"files", spread_of(
                          ranks, [](const RankTimes& r, double) { return r.files; }, 0)}}}};
}

StageProfile::StageProfile(const comm::Communicator& comm, const std::string& stage)
    : comm_(comm), before_(spent()), begin_(steady_seconds()), stages_(stages_said()), region_(stage.c_str()) {}

void StageProfile::finish(const std::string& stage, const fs::path& folder, const std::string& share) {
  const Spent all = spent() - before_;
  RankTimes mine{.elapsed = steady_seconds() - begin_, .mpi = all.mpi, .files = all.files};
  mine.gpu = std::clamp(mine.elapsed - mine.mpi - mine.files, 0.0, all.gpu); // a GPU may be there while this thread waits for others, too
  mine.calls = static_cast<double>(all.calls);
  mine.bytes = static_cast<double>(all.bytes);
  mine.node = comm::node_number(comm_);
  if (comm::max_of(comm_, stages_said() - stages_) == 0) return; // all of it was there
  const auto ranks = comm::gather(comm_, std::vector<RankTimes>{mine});
  try { // the stage's result is there: what cannot be written of how it came about is no failure of it
    write(stage, folder, share, ranks);
  } catch (const std::exception& error) {
    log_warn("{}: no profile: {}", stage, error.what());
  }
}

void StageProfile::write(const std::string& stage, const fs::path& folder, const std::string& share,
                         const std::vector<RankTimes>& ranks) const {
  const fs::path path = folder / fmt::format("profile{}.json", share);
  if (comm_.rank() < traced_ranks()) {
    make_folder(folder / "trace");
    write_text_atomic(folder / "trace" / fmt::format("{}{}_rank{:04}.json", stage, share, comm_.rank()),
                      take_trace(stage, comm_.rank(), begin_));
  }
  if (comm_.rank() != 0) return;
  auto profile = read_profile(path);
  auto metrics = pop_metrics(ranks);
  profile["dlbVersion"] = "3.6"; // of TALP, whose keys these are
  profile["timestamp"] = utc_now();
  profile["resources"] = {{"numCpus", ranks.size()}, {"numNodes", metrics["numNodes"]}, {"numMpiRanks", ranks.size()}, {"numGpus", 0}};
  profile["concord"] = {{"version", version()}, {"git", git_state()}, {"hosts", run_record().hosts}};
  profile["Application"][stage] = std::move(metrics);
  write_text_shared(path, profile.dump(1));
}

void trace_ranks(int ranks) {
  traced_ranks() = ranks;
  if (ranks > 0) keep_trace();
}

} // namespace concord::app
