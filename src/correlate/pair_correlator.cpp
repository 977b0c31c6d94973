#include "correlate/pair_correlator.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"

#include "correlate/device/device_sweep.hpp"
#include "correlate/share_grid.hpp"
#include "correlate/sums/sweep.hpp"
#include <limits>
#include <list>
#include <mutex>
#include <optional>

namespace concord::correlate {
namespace {

/// What is kept of a layer for the next pairs, within a limit of bytes; what was not used for longest goes first.
template <typename ShareType>
class Kept {
public:
  std::shared_ptr<const ShareType> find(int layer) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (entry->first == layer) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entries_.front().second;
      }
    return nullptr;
  }
  void keep(int layer, std::shared_ptr<const ShareType> share) { entries_.emplace_front(layer, std::move(share)); }
  double bytes() const {
    double sum = 0;
    for (const auto& entry : entries_) sum += entry.second->share.held;
    return sum;
  }
  bool drop_oldest() {
    if (entries_.empty()) return false;
    entries_.pop_back();
    return true;
  }

private:
  std::list<std::pair<int, std::shared_ptr<const ShareType>>> entries_;
};

ShareGrid grid_for(int ranks, int on_node, const PearsonSettings& settings, const FeatureSource& a, const FeatureSource& b) {
  if (const int columns = settings.grid_columns; columns > 0) {
    require(ranks % columns == 0, ExitCode::config, "{} ranks are no grid of {} columns", ranks, columns);
    return {ranks / columns, columns};
  }
  const auto active = [](const FeatureSource& side) { return static_cast<double>(side.entries()) / static_cast<double>(side.rows()); };
  return fastest_grid(ranks, on_node, active(a), active(b));
}

} // namespace

struct PairCorrelator::State {
  const comm::Communicator& comm;
  PearsonSettings settings;
  std::optional<ShareGrid> grid;
  int on_node = 1;                ///< ranks that share a node, on each at least
  comm::Communicator column_comm; ///< the ranks of this rank's column
  Kept<Whole<PostingShare>> kept_a;
  Kept<Whole<RowShare>> kept_b;
  const FeatureSource* a = nullptr;
  const FeatureSource* b = nullptr;
  std::optional<Deal> deal_a;
  std::optional<Deal> deal_b;
  std::unique_ptr<device::Device> device;
  std::optional<device::KeptOnDevice> kept_on_device;
  std::unique_ptr<PairSums> sums;

  int row() const { return grid->row(comm.rank()); }
  int column() const { return grid->column(comm.rank()); }

  void make_grid() {
    const comm::NodeArray probe(comm, 1); // says whether memory can be shared at all
    on_node = -static_cast<int>(comm::max_of(comm, -Index{probe.ranks_a_copy()}));
    grid = grid_for(comm.size(), on_node, settings, *a, *b);
    column_comm = comm.split(column());
  }

  void open_device() {
    if (settings.sums_by == SumsBy::cpu) return;
    device = settings.sums_by == SumsBy::gpu ? device::open_gpu(settings.gpu) : device::open_emulated();
    kept_on_device.emplace(*device, settings.gpu_memory * for_shares);
    settings.block = std::min(settings.block, device::most_of_block);
  }

  /// Parts of a GPU's memory: for whole shares, rows in pieces, sums; the rest is for tables and what others take meanwhile.
  static constexpr double for_shares = 0.5, for_pieces = 0.1, for_sums = 0.3;

  device::SweepMemory sweep_memory(double on_host) const {
    return {on_host, settings.gpu_memory * for_pieces, settings.gpu_memory * for_sums};
  }

  /// The same on every rank.
  bool fits_on_device() const {
    if (!device) return true;
    const double bytes = device::postings_bytes_on_device(*a, *deal_a, row()) + device::rows_bytes_on_device(*b, *deal_b, column());
    return comm::max_of(comm, Index{bytes > kept_on_device->memory()}) == 0;
  }

  double tables_bytes() const {
    const auto features = static_cast<double>(deal_a->features(row()).size() + deal_b->features(column()).size() * at(settings.threads));
    return features * static_cast<double>(settings.best * 32 + 8 * static_cast<Index>(settings.shifts.size()) + 64);
  }

  /// Makes room for `bytes`; false when that cannot be. The same on every rank.
  bool make_room(double bytes) {
    const auto too_much = [&] { return kept_a.bytes() + kept_b.bytes() + bytes + tables_bytes() > settings.memory; };
    while (comm::max_of(comm, Index{too_much()}) > 0)
      if (!kept_b.drop_oldest() && !kept_a.drop_oldest()) return false;
    return true;
  }

  PairRows rows(int layer_a, int layer_b, const comm::StopWithin& stop) {
    PairRows rows{*a, *b, *deal_a, *deal_b, kept_a.find(layer_a), kept_b.find(layer_b)};
    const int sharing = std::min(on_node, grid->rows);
    const double needed = (rows.whole_a ? 0.0 : postings_bytes(*grid, comm.rank(), *a, *deal_a)) +
                          (rows.whole_b ? 0.0 : rows_bytes(*grid, comm.rank(), *b, *deal_b, sharing));
    if (!fits_on_device() || !make_room(needed)) return {*a, *b, *deal_a, *deal_b, nullptr, nullptr};
    if (!rows.whole_a) {
      while (kept_a.drop_oldest()) {
      } // pairs come by layers of A
      rows.whole_a = std::make_shared<Whole<PostingShare>>(load_postings(comm, *grid, *a, *deal_a, 0, a->rows(), &stop));
      kept_a.keep(layer_a, rows.whole_a);
    }
    if (!rows.whole_b) {
      rows.whole_b = std::make_shared<Whole<RowShare>>(load_rows(comm, column_comm, *grid, *b, *deal_b, &stop));
      kept_b.keep(layer_b, rows.whole_b);
    }
    return rows;
  }
};

PairCorrelator::PairCorrelator(const comm::Communicator& comm, PearsonSettings settings)
    : state_(std::make_unique<State>(State{comm, std::move(settings), {}, 1, {}, {}, {}, nullptr, nullptr, {}, {}, {}, {}, {}})) {
  state_->open_device();
}

PairCorrelator::~PairCorrelator() = default;

void PairCorrelator::open(const FeatureSource& a, int layer_a, const FeatureSource& b, int layer_b) {
  State& s = *state_;
  const comm::StopWithin stop(s.settings.unstopped_seconds);
  s.sums.reset();
  s.a = &a;
  s.b = &b;
  if (!s.grid) s.make_grid();
  s.deal_a.emplace(a, s.grid->rows, dense_work_a);
  s.deal_b.emplace(b, s.grid->columns, dense_work_b, std::clamp<Index>(s.settings.block, 1, widest_block));
  const PairRows rows = s.rows(layer_a, layer_b, stop);
  const int sharing = std::min(s.on_node, s.grid->rows);
  const double left = std::max(1.0, s.settings.memory - s.tables_bytes());
  if (s.device)
    s.sums = std::make_unique<device::DeviceSweep>(s.comm, s.column_comm, sharing, *s.grid, rows, *s.device, *s.kept_on_device,
                                                   s.sweep_memory(left));
  else
    s.sums = std::make_unique<Sweep>(s.comm, s.column_comm, sharing, *s.grid, rows, left, s.settings.threads);
  s.sums->heed(stop);
}

PairCorrelation PairCorrelator::correlate() {
  State& s = *state_;
  std::vector<Index> shifts{s.settings.shift};
  shifts.insert(shifts.end(), s.settings.shifts.begin(), s.settings.shifts.end());
  const auto nulls = s.settings.shifts.size();
  const auto& names_a = s.sums->features_a();
  const auto& names_b = s.sums->features_b();
  Found found(names_a.size(), names_b.size(), s.settings.best, static_cast<Index>(nulls), s.settings.threads);
  s.sums->find_best(shifts, s.settings.best, found);
  const auto finders = [](int ranks) { return ranks > 1 ? Finders::several : Finders::one; };
  PairCorrelation pair{merged(s.comm, found.best_of_a, names_a, s.a->features(), s.settings.best, finders(s.grid->columns)),
                       merged(s.comm, found.best_of_b.front(), names_b, s.b->features(), s.settings.best, finders(s.grid->rows)),
                       {},
                       {}};
  for (std::size_t shift = 0; shift < nulls; ++shift) {
    const auto of = [&](const std::vector<double>& largest, const std::vector<std::int32_t>& names, Index features) {
      const auto first = largest.begin() + static_cast<Index>(shift * names.size());
      return merged_largest(s.comm, {first, first + static_cast<Index>(names.size())}, names, features);
    };
    const auto a = of(found.largest_a, names_a, s.a->features());
    const auto b = of(found.largest_b.front(), names_b, s.b->features());
    pair.null_a.insert(pair.null_a.end(), a.begin(), a.end());
    pair.null_b.insert(pair.null_b.end(), b.begin(), b.end());
  }
  return pair;
}

std::vector<Exceeding> PairCorrelator::exceeding(std::vector<double> limit_a, std::vector<double> limit_b) {
  State& s = *state_;
  comm::broadcast(s.comm, limit_a);
  comm::broadcast(s.comm, limit_b);
  const auto of_share = [](const std::vector<double>& limits, const std::vector<std::int32_t>& names) {
    std::vector<double> own;
    own.reserve(names.size());
    for (const auto name : names) own.push_back(limits[at(name)]);
    return own;
  };
  const auto own_a = of_share(limit_a, s.sums->features_a());
  const auto own_b = of_share(limit_b, s.sums->features_b());
  std::vector<std::uint8_t> wanted;
  wanted.reserve(own_a.size());
  for (const double limit : own_a) wanted.push_back(limit < std::numeric_limits<double>::infinity() ? 1 : 0);
  auto all = comm::gather(s.comm, s.sums->find_exceeding(own_a, own_b, wanted));
  std::sort(all.begin(), all.end(), [](const Exceeding& x, const Exceeding& y) { return std::pair(x.a, x.b) < std::pair(y.a, y.b); });
  return all;
}

void PairCorrelator::for_each_row(const RowVisit& row) {
  State& s = *state_;
  require(s.grid->columns == 1, ExitCode::internal, "whole rows of correlations need one column");
  const auto& names_b = s.sums->features_b();
  std::vector<double> r(at(s.b->features()), 0.0);
  std::vector<std::int32_t> cofire(r.size(), 0);
  s.sums->for_each_sums([&](Index feature, const Accumulator* sums) {
    for (std::size_t j = 0; j < names_b.size(); ++j) {
      const double value = s.sums->correlation(feature, static_cast<Index>(j), sums[j]);
      r[at(names_b[j])] = std::isnan(value) ? 0.0 : std::clamp(value, -1.0, 1.0);
      cofire[at(names_b[j])] = static_cast<std::int32_t>(sums[j].cofire);
    }
    row(s.sums->features_a()[at(feature)], r, cofire);
  });
}

PairCorrelation best_correlations(const comm::Communicator& comm, const io::CsrMatrix& a, const io::CsrMatrix& b,
                                  const PearsonSettings& settings) {
  const MatrixSource source_a(a);
  const MatrixSource source_b(b);
  PairCorrelator correlator(comm, settings);
  correlator.open(source_a, 0, source_b, 0);
  return correlator.correlate();
}

} // namespace concord::correlate
