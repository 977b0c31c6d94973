// What the ranks of a large grid have to do, share by share on this one rank: multiply-adds, entries held and received counted from the
// data, and the time of each share, taken by itself on one thread. Times are of the rows alone: what half of them takes less is counted
// twice, since all else (tables of best partners, looking through the sums) is done once, however long a corpus is. The least of three.
//   build/bench_correlate_grid A.npz B.npz RANKS COLUMNS [SHARES]
// A.npz and B.npz: scipy CSR matrices, such as bench/correlate.py leaves in build/bench/correlate. SHARES: how many shares are timed,
// spread over the grid; 0: all.
#include "concord/comm/session.hpp"
#include "concord/core/error.hpp"

#include "correlate/pair_correlator.hpp"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

using namespace concord;
using correlate::Deal;
using correlate::MatrixSource;

namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// The features of one part as a matrix of their own.
io::CsrMatrix part_of(const io::CsrMatrix& whole, const Deal& deal, int part) {
  io::CsrMatrix matrix{whole.rows, static_cast<Index>(deal.features(part).size()), {0}, {}, {}};
  std::vector<std::pair<std::int32_t, float>> row;
  for (Index t = 0; t < whole.rows; ++t) {
    row.clear();
    for (Index e = whole.indptr[at(t)]; e < whole.indptr[at(t) + 1]; ++e)
      if (const auto& place = deal.place(whole.indices[at(e)]); place.part == part) row.emplace_back(place.local, whole.values[at(e)]);
    std::sort(row.begin(), row.end());
    for (const auto& [feature, value] : row) {
      matrix.indices.push_back(feature);
      matrix.values.push_back(value);
    }
    matrix.indptr.push_back(matrix.nnz());
  }
  return matrix;
}

io::CsrMatrix first_half(const io::CsrMatrix& whole) {
  const MatrixSource source(whole);
  return source.read(0, whole.rows / 2);
}

double seconds_of_all(const comm::Communicator& alone, const io::CsrMatrix& a, const io::CsrMatrix& b) {
  const MatrixSource source_a(a);
  const MatrixSource source_b(b);
  correlate::PearsonSettings settings;
  settings.memory = 16.0 * (1 << 30);
  correlate::PairCorrelator correlator(alone, settings);
  correlator.open(source_a, 0, source_b, 0);
  const auto begin = std::chrono::steady_clock::now();
  correlator.correlate();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double seconds_of(const comm::Communicator& alone, const io::CsrMatrix& a, const io::CsrMatrix& b) {
  constexpr int times = 3;
  const auto half_a = first_half(a);
  const auto half_b = first_half(b);
  double whole = 1e300;
  double half = 1e300;
  for (int time = 0; time < times; ++time) {
    whole = std::min(whole, seconds_of_all(alone, a, b));
    half = std::min(half, seconds_of_all(alone, half_a, half_b));
  }
  return 2 * (whole - half);
}

double multiply_adds(const io::CsrMatrix& a, const io::CsrMatrix& b) {
  double sum = 0;
  for (std::size_t t = 0; t < at(a.rows); ++t)
    sum += static_cast<double>(a.indptr[t + 1] - a.indptr[t]) * static_cast<double>(b.indptr[t + 1] - b.indptr[t]);
  return sum;
}

/// What a part of A's features has to do for each row of B, as it was dealt (feature_share.hpp).
double work(const MatrixSource& source, const Deal& deal, int part) {
  const auto& features = deal.features(part);
  const Index strips = (deal.dense(part) + correlate::strip_a - 1) / correlate::strip_a;
  double sum = correlate::dense_work_a.a_row * static_cast<double>(strips * source.rows());
  for (std::size_t j = at(deal.dense(part)); j < features.size(); ++j) sum += static_cast<double>(source.totals().count[at(features[j])]);
  return sum;
}

void say(const char* what, const std::vector<double>& values) {
  const double most = *std::max_element(values.begin(), values.end());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  std::printf("%-44s mean %.4g, most %.4g: %.4f of the mean\n", what, mean, most, most / mean);
}

} // namespace

int main(int argc, char** argv) {
  const comm::Session session(argc, argv);
  require(argc >= 5, ExitCode::usage, "usage: bench_correlate_grid A.npz B.npz RANKS COLUMNS [SHARES]");
  const auto whole_a = io::read_scipy_csr(argv[1]);
  const auto whole_b = io::read_scipy_csr(argv[2]);
  const int ranks = std::atoi(argv[3]);
  const int columns = std::atoi(argv[4]);
  const int rows = ranks / columns;
  const Index wanted = argc > 5 && std::atoll(argv[5]) > 0 ? std::atoll(argv[5]) : ranks;
  const MatrixSource source_a(whole_a);
  const MatrixSource source_b(whole_b);
  const correlate::PearsonSettings defaults;
  const Deal deal_a(source_a, rows, correlate::dense_work_a);
  const Deal deal_b(source_b, columns, correlate::dense_work_b, defaults.block);

  std::vector<io::CsrMatrix> parts_a;
  std::vector<io::CsrMatrix> parts_b;
  for (int p = 0; p < rows; ++p) parts_a.push_back(part_of(whole_a, deal_a, p));
  for (int q = 0; q < columns; ++q) parts_b.push_back(part_of(whole_b, deal_b, q));
  std::vector<double> updates;
  std::vector<double> entries;
  std::vector<double> seconds;
  const auto alone = session.world().split(session.world().rank());
  for (Index rank = 0; rank < ranks; ++rank) {
    const auto& a = parts_a[at(rank % rows)];
    const auto& b = parts_b[at(rank / rows)];
    updates.push_back(multiply_adds(a, b));
    entries.push_back(static_cast<double>(a.nnz() + b.nnz()));
    if (rank * wanted / ranks != (rank + 1) * wanted / ranks) seconds.push_back(seconds_of(alone, a, b));
  }
  const double whole = seconds_of(alone, whole_a, whole_b);
  std::printf("%lld rows, %lld x %lld features, %.3g multiply-adds, a grid of %d x %d\n", static_cast<long long>(whole_a.rows),
              static_cast<long long>(whole_a.cols), static_cast<long long>(whole_b.cols), multiply_adds(whole_a, whole_b), rows, columns);
  std::vector<double> works;
  for (int p = 0; p < rows; ++p) works.push_back(work(source_a, deal_a, p));
  say("rows of B that a part of A's adds up:", works);
  say("multiply-adds a rank:", updates);
  say("entries a rank holds (8 bytes of A, 6 of B):", entries);
  const double of_a = static_cast<double>(whole_a.nnz()) / rows;
  const double of_b =
      columns == 1 ? 0 : static_cast<double>(whole_b.nnz()) / ranks; // ranks of a column take slices; of one column what they read
  std::printf("%-44s %.4g bytes\n", "a rank is sent, all being on one node:", 12 * (of_a + of_b));
  say("seconds of a share:", seconds);
  const double slowest = *std::max_element(seconds.begin(), seconds.end());
  const double mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  std::printf("%-44s %.3f s; / ranks / mean share: %.3f, / slowest share: %.3f\n", "all by one rank:", whole, whole / ranks / mean,
              whole / ranks / slowest);
}
