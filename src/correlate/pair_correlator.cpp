#include "correlate/pair_correlator.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"

#include "correlate/device/device_sweep.hpp"
#include "correlate/kept.hpp"
#include "correlate/null/sampled_source.hpp"
#include "correlate/shares/row_pieces.hpp"
#include "correlate/sums/share_grid.hpp"
#include "correlate/sums/sweep.hpp"
#include <algorithm>
#include <limits>
#include <mutex>
#include <optional>

namespace concord::correlate {
namespace {

ShareGrid grid_for(int ranks, int on_node, const PearsonSettings& settings, const FeatureSource& a, const FeatureSource& b) {
  if (const int columns = settings.grid_columns; columns > 0) {
    require(ranks % columns == 0, ExitCode::config, "{} ranks are no grid of {} columns", ranks, columns);
    return {ranks / columns, columns};
  }
  const auto active = [](const FeatureSource& side) { return static_cast<double>(side.entries()) / static_cast<double>(side.rows()); };
  return fastest_grid(ranks, on_node, active(a), active(b));
}

/// The largest r of a sample of A's features, `names` being their numbers among the `features` of the sums' layer. On rank 0.
std::vector<double> largest_of(const comm::Communicator& comm, PairSums& sums, const std::vector<Index>& shifts,
                               const std::vector<std::int32_t>& names, const std::vector<std::int32_t>& shift_of, Index features) {
  const auto& mine = sums.features_a();
  std::vector<std::int32_t> place(at(features), -1);
  for (std::size_t i = 0; i < mine.size(); ++i) place[at(mine[i])] = static_cast<std::int32_t>(i);
  std::vector<Wanted> wanted(shifts.size(), Wanted(mine.size(), 0));
  for (std::size_t k = 0; k < names.size(); ++k)
    if (place[at(names[k])] >= 0) wanted[at(shift_of[k])][at(place[at(names[k])])] = 1;
  const auto found = sums.find_largest(shifts, wanted);
  std::vector<double> largest(comm.rank() == 0 ? names.size() : 0, 0.0);
  for (std::size_t s = 0; s < shifts.size(); ++s) {
    const auto first = found.begin() + static_cast<Index>(s * mine.size());
    const auto all = merged_largest(comm, {first, first + static_cast<Index>(mine.size())}, mine, features);
    for (std::size_t k = 0; k < largest.size(); ++k)
      if (at(shift_of[k]) == s) largest[k] = all[at(names[k])];
  }
  return largest;
}

/// A sample's features, ascending, each once.
std::vector<std::int32_t> distinct(std::vector<std::int32_t> features) {
  std::sort(features.begin(), features.end());
  features.erase(std::unique(features.begin(), features.end()), features.end());
  return features;
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
  Kept<Whole<PostingShare>> kept_sample; ///< of B
  Kept<Whole<RowShare>> kept_rows_a;     ///< beside it
  const FeatureSource* a = nullptr;
  const FeatureSource* b = nullptr;
  std::optional<Deal> deal_a;
  std::optional<Deal> deal_b;
  std::unique_ptr<device::Device> device;
  std::optional<device::KeptOnDevice> kept_on_device;
  std::unique_ptr<PairSums> sums;
  bool sampled = false; ///< the null is of a sample
  NullSample sample_a, sample_b;
  std::vector<double> null_b; ///< of the sample, on rank 0

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

  /// What is added up: lists of the features of one layer against rows of another, each by its number and with what is kept.
  struct Sides {
    const FeatureSource& of_lists;
    const Deal& deal_lists;
    int layer_lists;
    Kept<Whole<PostingShare>>& lists;
    const FeatureSource& of_rows;
    const Deal& deal_rows;
    int layer_rows;
    Kept<Whole<RowShare>>& rows;
  };

  /// The same on every rank.
  bool fits_on_device(const Sides& of) const {
    if (!device) return true;
    const double bytes = device::postings_bytes_on_device(of.of_lists, of.deal_lists, row()) +
                         device::rows_bytes_on_device(of.of_rows, of.deal_rows, column());
    return comm::max_of(comm, Index{bytes > kept_on_device->memory()}) == 0;
  }

  double tables_bytes() const {
    const auto features = static_cast<double>(deal_a->features(row()).size() + deal_b->features(column()).size() * at(settings.threads));
    return features * static_cast<double>(settings.best * 32 + 8 * static_cast<Index>(settings.shifts.size()) + 64);
  }

  /// Makes room for `bytes` beside what is held of the pair at hand; false when that cannot be. The same on every rank.
  bool make_room(double bytes) {
    const auto too_much = [&] {
      return kept_a.bytes() + kept_b.bytes() + kept_sample.bytes() + kept_rows_a.bytes() + bytes + tables_bytes() > settings.memory;
    };
    while (comm::max_of(comm, Index{too_much()}) > 0)
      if (!kept_b.drop_oldest() && !kept_sample.drop_oldest() && !kept_rows_a.drop_oldest() && !kept_a.drop_oldest()) return false;
    return true;
  }

  PairRows rows(const Sides& of, const comm::StopWithin& stop) {
    PairRows rows{of.of_lists, of.of_rows, of.deal_lists, of.deal_rows, of.lists.find(of.layer_lists), of.rows.find(of.layer_rows)};
    const double needed = (rows.whole_a ? 0.0 : postings_bytes(*grid, comm.rank(), of.of_lists, of.deal_lists)) +
                          (rows.whole_b ? 0.0 : rows_bytes(*grid, comm.rank(), of.of_rows, of.deal_rows, sharing()));
    const bool fits = fits_on_device(of);
    if (!fits || !make_room(needed)) {
      rows.whole_a.reset();
      rows.whole_b.reset();
      make_room(settings.memory); // all of it is for pieces
      return rows;
    }
    if (!rows.whole_a) {
      if (&of.lists == &kept_a) kept_a.clear(); // pairs come by layers of A
      rows.whole_a =
          std::make_shared<Whole<PostingShare>>(load_postings(comm, *grid, of.of_lists, of.deal_lists, 0, of.of_lists.rows(), &stop));
      of.lists.keep(of.layer_lists, rows.whole_a);
    }
    if (!rows.whole_b) {
      if (&of.rows == &kept_rows_a) kept_rows_a.clear();
      rows.whole_b = std::make_shared<Whole<RowShare>>(load_rows(comm, column_comm, *grid, of.of_rows, of.deal_rows, &stop));
      of.rows.keep(of.layer_rows, rows.whole_b);
    }
    return rows;
  }

  /// Ranks of a column that surely share a node.
  int sharing() const { return std::min(on_node, grid->rows); }

  std::unique_ptr<PairSums> sums_of(const Sides& of, const comm::StopWithin& stop) {
    const PairRows whole = rows(of, stop);
    const double left = std::max(1.0, settings.memory - tables_bytes());
    std::unique_ptr<PairSums> made;
    if (device)
      made =
          std::make_unique<device::DeviceSweep>(comm, column_comm, sharing(), *grid, whole, *device, *kept_on_device, sweep_memory(left));
    else
      made = std::make_unique<Sweep>(comm, column_comm, sharing(), *grid, whole, left, settings.threads);
    made->heed(stop);
    return made;
  }

  Index widest() const { return std::clamp<Index>(settings.block, 1, widest_block); }

  void draw_samples(int layer_a, int layer_b) {
    const auto shifts = static_cast<Index>(settings.shifts.size());
    sampled = shifts > 0 && samples_null(a->features(), b->features(), settings.null_features, shifts, settings.null_values);
    const auto none = [](const FeatureSource& of) { return NullSample{{}, {}, {}, dense_above * static_cast<double>(of.rows())}; };
    sample_a = none(*a);
    sample_b = none(*b);
    if (!sampled) return;
    const auto draw = [&](const FeatureSource& of, int layer, const char* purpose) {
      auto sample = null_sample(of, null_features(of.features(), settings.null_features, shifts, settings.null_values), shifts,
                                Philox(settings.seed, purpose, static_cast<std::uint64_t>(layer)));
      require(sample.size() > 0 || of.entries() == 0, ExitCode::internal, "no null of layer {}", layer); // without it no test
      return sample;
    };
    sample_a = draw(*a, layer_a, "null features of A");
    sample_b = draw(*b, layer_b, "null features of B");
  }

  /// The largest r of B's sample. Sides change places: a list of few entries costs little against long rows, but rows of few entries cost
  /// what it takes to look them up.
  void take_null_of_b(int layer_a, int layer_b, const comm::StopWithin& stop) {
    if (!sampled) return;
    const SampledSource sample(*b, distinct(sample_b.feature));
    const Deal deal_sample(sample, grid->rows, dense_work_a);
    const Deal deal_rows(*a, grid->columns, dense_work_b, widest());
    const auto turned = sums_of({sample, deal_sample, layer_b, kept_sample, *a, deal_rows, layer_a, kept_rows_a}, stop);
    std::vector<Index> shifts;
    for (const Index shift : settings.shifts) shifts.push_back((a->rows() - shift) % a->rows());
    std::vector<std::int32_t> names;
    for (const auto feature : sample_b.feature)
      names.push_back(
          static_cast<std::int32_t>(std::lower_bound(sample.names().begin(), sample.names().end(), feature) - sample.names().begin()));
    null_b = largest_of(comm, *turned, shifts, names, sample_b.shift, sample.features());
  }
};

PairCorrelator::PairCorrelator(const comm::Communicator& comm, PearsonSettings settings)
    : state_(std::make_unique<State>(
          State{comm, std::move(settings), {}, 1, {}, {}, {}, {}, {}, nullptr, nullptr, {}, {}, {}, {}, {}, false, {}, {}, {}})) {
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
  s.deal_b.emplace(b, s.grid->columns, dense_work_b, s.widest());
  s.draw_samples(layer_a, layer_b);
  s.take_null_of_b(layer_a, layer_b, stop); // first: what it holds is done with, where not all have room
  s.sums = s.sums_of({a, *s.deal_a, layer_a, s.kept_a, b, *s.deal_b, layer_b, s.kept_b}, stop);
}

PairCorrelation PairCorrelator::correlate() {
  State& s = *state_;
  std::vector<Index> shifts{s.settings.shift};
  if (!s.sampled) shifts.insert(shifts.end(), s.settings.shifts.begin(), s.settings.shifts.end());
  const auto nulls = shifts.size() - 1;
  const auto& names_a = s.sums->features_a();
  const auto& names_b = s.sums->features_b();
  Found found(names_a.size(), names_b.size(), s.settings.best, static_cast<Index>(nulls), s.settings.threads);
  s.sums->find_best(shifts, s.settings.best, found);
  const auto finders = [](int ranks) { return ranks > 1 ? Finders::several : Finders::one; };
  PairCorrelation pair{merged(s.comm, found.best_of_a, names_a, s.a->features(), s.settings.best, finders(s.grid->columns)),
                       merged(s.comm, found.best_of_b.front(), names_b, s.b->features(), s.settings.best, finders(s.grid->rows)),
                       {},
                       {},
                       s.sample_a,
                       s.sample_b};
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
  if (!s.sampled) return pair;
  pair.null_a = largest_of(s.comm, *s.sums, s.settings.shifts, s.sample_a.feature, s.sample_a.shift, s.a->features());
  pair.null_b = s.null_b;
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
