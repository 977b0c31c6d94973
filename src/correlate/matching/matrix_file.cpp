#include "correlate/matching/matrix_file.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/io/output.hpp"

#include <fstream>
#include <numeric>
#include <optional>

namespace concord::correlate {
namespace {

/// Rows of pairs that wait on disk, since where they belong is known when all are counted. The file has no name: nothing is left behind
/// by a run that was killed.
class CoactiveSpool {
public:
  struct Pairs {
    std::vector<std::int32_t> partner;
    std::vector<float> r;
    std::vector<std::int32_t> cofire;
  };

  explicit CoactiveSpool(std::filesystem::path path) : path_(std::move(path)) {
    file_.open(path_, std::ios::in | std::ios::out | std::ios::binary | std::ios::trunc);
    require(file_.good(), ExitCode::io, "cannot create {}", path_.string());
    std::filesystem::remove(path_);
  }

  void append(std::int32_t feature, const Pairs& pairs) {
    rows_.push_back({feature, static_cast<Index>(pairs.partner.size())});
    for_each_column(pairs, [&](auto& column) {
      file_.write(reinterpret_cast<const char*>(column.data()), static_cast<std::streamsize>(column.size() * sizeof column[0]));
    });
    require(file_.good(), ExitCode::io, "cannot write {}: is the disk full?", path_.string());
  }

  /// Pairs of each feature of A that this rank appended; 0 of others.
  std::vector<Index> counts(Index features) const {
    std::vector<Index> counts(at(features), 0);
    for (const Row& row : rows_) counts[at(row.feature)] = row.count;
    return counts;
  }

  /// Every feature that was appended, in that order.
  void for_each(const std::function<void(std::int32_t feature, const Pairs& pairs)>& visit) {
    file_.seekg(0);
    Pairs pairs;
    for (const Row& row : rows_) {
      for_each_column(pairs, [&](auto& column) {
        column.resize(at(row.count));
        file_.read(reinterpret_cast<char*>(column.data()), static_cast<std::streamsize>(column.size() * sizeof column[0]));
      });
      require(file_.good(), ExitCode::io, "cannot read {}", path_.string());
      visit(row.feature, pairs);
    }
  }

private:
  struct Row {
    std::int32_t feature;
    Index count;
  };
  static void for_each_column(auto& pairs, const auto& visit) {
    visit(pairs.partner);
    visit(pairs.r);
    visit(pairs.cofire);
  }
  std::filesystem::path path_;
  std::fstream file_;
  std::vector<Row> rows_;
};

/// Fills the spool with this rank's features of A.
void spool_pairs(PairCorrelator& correlator, CoactiveSpool& spool) {
  CoactiveSpool::Pairs pairs;
  correlator.for_each_row([&](std::int32_t feature, const std::vector<double>& r, const std::vector<std::int32_t>& cofire) {
    pairs.partner.clear();
    pairs.r.clear();
    pairs.cofire.clear();
    for (std::size_t j = 0; j < r.size(); ++j)
      if (cofire[j] > 0) {
        pairs.partner.push_back(static_cast<std::int32_t>(j));
        pairs.r.push_back(static_cast<float>(r[j]));
        pairs.cofire.push_back(cofire[j]);
      }
    spool.append(feature, pairs);
  });
}

} // namespace

void write_all_correlations(const comm::Communicator& comm, PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b,
                            const StageKey& key, const std::filesystem::path& path) {
  const double bytes = 4.0 * static_cast<double>(a.features()) * static_cast<double>(b.features());
  io::Output output(comm, path, key, io::Output::Writers::all, true, bytes, [&](io::File& file) {
    file.create_dataset("/r", {a.features(), b.features()}, Dtype::f32);
  });
  std::optional<io::Dataset> matrix(output.file().dataset("/r"));
  const auto write = [&](Index feature, const std::vector<float>& row) { matrix->write_rows(feature, 1, row.data()); };
  const comm::StopWithin stop;
  comm::agree(comm, [&] { // dead features belong to no rank
    const std::vector<float> zeros(at(b.features()), 0.0F);
    for (Index i = 0; i < a.features() && comm.rank() == 0 && !stop.wanted_here(); ++i)
      if (a.totals().count[at(i)] == 0) write(i, zeros);
  });
  stop.throw_if_wanted(comm, "correlate");
  correlator.for_each_row([&](std::int32_t feature, const std::vector<double>& r, const std::vector<std::int32_t>&) {
    write(feature, {r.begin(), r.end()});
  });
  matrix.reset(); // HDF5 closes no parallel file of which something is open
  output.finish();
}

void write_coactive_correlations(const comm::Communicator& comm, PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b,
                                 const StageKey& key, const std::filesystem::path& path) {
  std::optional<CoactiveSpool> spool;
  comm::agree(comm, [&] { spool.emplace(fmt::format("{}.rank{}", path.string(), comm.rank())); });
  spool_pairs(correlator, *spool);
  auto counts = spool->counts(a.features());
  comm::sum(comm, counts);
  std::vector<Index> begin(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), begin.begin() + 1);
  const Index stored = std::max<Index>(1, begin.back()); // a dataset has at least one place
  io::Output output(comm, path, key, io::Output::Writers::all, true, 12.0 * static_cast<double>(stored), [&](io::File& file) {
    file.write("/indptr", begin);
    file.create_dataset("/indices", {stored}, Dtype::i32);
    file.create_dataset("/r", {stored}, Dtype::f32);
    file.create_dataset("/cofire", {stored}, Dtype::i32);
    file.write("/shape", std::vector<Index>{a.features(), b.features()});
  });
  const comm::StopWithin stop;
  comm::agree(comm, [&] {
    auto indices = output.file().dataset("/indices");
    auto r = output.file().dataset("/r");
    auto cofire = output.file().dataset("/cofire");
    spool->for_each([&](std::int32_t feature, const CoactiveSpool::Pairs& pairs) {
      const auto count = static_cast<Index>(pairs.partner.size());
      if (count == 0 || stop.wanted_here()) return;
      indices.write_rows(begin[at(feature)], count, pairs.partner.data());
      r.write_rows(begin[at(feature)], count, pairs.r.data());
      cofire.write_rows(begin[at(feature)], count, pairs.cofire.data());
    });
  });
  stop.throw_if_wanted(comm, "correlate");
  output.finish();
}

} // namespace concord::correlate
