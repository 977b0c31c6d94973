#include "concord/cost/calibrate/calibrate.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/run/spent.hpp"
#include "concord/core/text.hpp"

#include "cost/calibrate/links.hpp"
#include "cost/calibrate/probe.hpp"
#include <cmath>

namespace concord::cost {

namespace fs = std::filesystem;

namespace {

class Calibrating {
public:
  Calibrating(const comm::Communicator& comm, const CalibrateOptions& options)
      : comm_(comm), options_(options), node_(comm.split(comm::node_number(comm))), several_(comm::max_of(comm, Index{node_.size()}) > 1),
        folder_(options.work / comm::decided(comm, [] { return unique_name("concord_calibrate"); })) {}

  /// What was written goes whatever happens.
  Calibration run() {
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) make_folder(folder_);
    });
    comm_.barrier();
    try {
      comm::agree(comm_, [&] { make_folder(of_rank()); });
      measure();
    } catch (...) { // other ranks may be anywhere
      remove();
      throw;
    }
    comm_.barrier();
    remove();
    return std::move(calibration_);
  }

private:
  fs::path of_rank() const { return folder_ / fmt::format("rank_{}", comm_.rank()); }

  void remove() const {
    std::error_code left_behind;
    if (comm_.rank() == 0) fs::remove_all(folder_, left_behind);
  }

  void measure() {
    Machine& m = calibration_.machine;
    begin_ = steady_seconds();
    m = default_machine(static_cast<int>(comm::max_of(comm_, Index{node_.size()})));
    m.threads_a_rank = thread_count();
    const auto families = all_families(of_rank(), options_.part);
    sharing_ = families.size() + 3; // messages, memory and files
    for (const Family& family : families) measure(family);
    const Index nodes = static_cast<Index>(std::lround(comm::sum_of(comm_, 1.0 / node_.size())));
    std::string assumed = "text"; // there is no tokenizer without a study
    const Effort of_messages = effort(4);
    if (comm_.size() > nodes)
      m.within = within(of_messages);
    else
      assumed += ", messages within a node";
    if (nodes > 1)
      m.between = between(of_messages);
    else
      assumed += ", messages between nodes";
    m.memory = measured_memory(comm_, node_, effort(1));
    const auto files = measured_files(comm_, node_, of_rank(), options_.file_mib * 0x1p20, effort(1));
    m.reads = files.reads;
    m.writes = files.writes;
    m.name = comm::host_names(comm_);
    m.source = fmt::format("concord calibrate {}, {}, {} ranks on {} nodes; not measured: {}", version(),
                           comm::decided(comm_, [] { return utc_now(); }), comm_.size(), nodes, assumed);
  }

  /// Of one of so many measurements, which share what those before have left of the time with all that is still to come.
  Effort effort(std::size_t measurements) {
    const double left = options_.seconds - comm::decided(comm_, [&] { return steady_seconds() - begin_; });
    return {options_.repeats, std::max(0.0, left) / static_cast<double>(sharing_-- * measurements)};
  }

  void measure(const Family& family) {
    comm::stop_if_requested(comm_, "calibrate");
    std::vector<Probe> probes;
    comm::agree(comm_, [&] { probes = family.make(); });
    std::vector<double> seconds;
    double slower = 0;
    const Effort each = effort(probes.size() * (several_ ? 2 : 1));
    for (const Probe& probe : probes) {
      seconds.push_back(timed(comm_, node_.rank() == 0, each, probe.run));
      const double together = several_ ? timed(comm_, true, each, probe.run) : seconds.back();
      slower += together / seconds.back() / static_cast<double>(probes.size());
      calibration_.probes.push_back({probe.name, seconds.back(), 0, together / seconds.back()});
    }
    fit(probes, seconds, family.unknown, calibration_.machine);
    for (const Work work : family.unknown) {
      Rate& rate = calibration_.machine.rates[static_cast<std::size_t>(work)];
      rate.together = rate.alone / slower;
    }
    for (std::size_t p = 0; p < probes.size(); ++p)
      calibration_.probes[calibration_.probes.size() - probes.size() + p].fitted = seconds_of(probes[p].amounts, calibration_.machine);
  }

  /// On the first node that has several ranks.
  Link within(const Effort& effort) const {
    const Index mine = node_.size() > 1 ? comm_.rank() : comm_.size();
    const Index first = -comm::max_of(comm_, -mine);
    const int number = comm::node_number(comm_);
    const bool takes_part = number == static_cast<int>(first);
    Link link;
    if (takes_part) link = {measured_latency(node_, effort), measured_bandwidth(node_, effort)};
    comm::broadcast_bytes(comm_, &link, sizeof link, static_cast<int>(first));
    return link;
  }

  /// Between the first two nodes, as many ranks of each as both have.
  Link between(const Effort& effort) const {
    const auto firsts = comm_.split(node_.rank() == 0 ? 0 : 1); // in the order of the nodes
    Index number = node_.rank() == 0 ? firsts.rank() : 0;
    comm::broadcast_bytes(node_, &number, sizeof number);
    const Index most = -comm::max_of(comm_, number < 2 ? -Index{node_.size()} : -Index{comm_.size()});
    const bool takes_part = number < 2 && node_.rank() < most;
    const auto two = comm_.split(takes_part ? 0 : 1, takes_part ? static_cast<int>(number * most) + node_.rank() : 0);
    Link link;
    if (takes_part) link.bandwidth = static_cast<double>(most) * measured_bandwidth(two, effort);
    if (node_.rank() == 0) link.latency = measured_latency(firsts, effort);
    comm::broadcast_bytes(comm_, &link, sizeof link);
    return link;
  }

  const comm::Communicator& comm_;
  const CalibrateOptions& options_;
  comm::Communicator node_;
  double begin_ = 0;
  std::size_t sharing_ = 0; ///< groups of measurements that share what is left of the time
  bool several_;            ///< ranks on a node, on one at least; the same on every rank
  fs::path folder_;
  Calibration calibration_;
};

} // namespace

Calibration calibrate(const comm::Communicator& comm, const CalibrateOptions& options) {
  comm::agree(comm, [&] {
    constexpr double most_mib = 1 << 24; // 16 TiB
    require(options.repeats > 0 && options.file_mib >= 1 && options.file_mib <= most_mib, ExitCode::usage,
            "--repeat must be positive, --file-mib from 1 to {:.0f}", most_mib);
    require(options.seconds >= 0, ExitCode::usage, "--seconds must not be negative");
    require(options.part > 0 && options.part <= 1, ExitCode::usage, "--part must be above 0 and at most 1, not {}", options.part);
    require(fs::is_directory(options.work), ExitCode::input_missing, "there is no folder {} to work in", options.work.string());
  });
  auto calibration = Calibrating(comm, options).run();
  comm::agree(comm, [&] {
    if (comm.rank() == 0 && !options.out.empty()) write_text_atomic(options.out, to_json(calibration.machine).dump(1) + "\n");
  });
  return calibration;
}

} // namespace concord::cost
