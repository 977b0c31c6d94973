#include "concord/comm/session.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/philox.hpp"

#include "correlate/matching/pair_result.hpp"
#include "correlate/pair_correlator.hpp"
#include "cost/calibrate/probe.hpp"
#include <algorithm>

namespace concord::cost {

namespace {

/// `active` features a row, one of each part of them; those in front of a part fire more often.
io::CsrMatrix random_features(Index rows, Index features, Index active, std::uint64_t seed) {
  const Philox random(seed, "calibrate features");
  io::CsrMatrix m{rows, features, {0}, {}, {}};
  std::uint64_t draw = 0;
  for (Index r = 0; r < rows; ++r) {
    for (Index a = 0; a < active; ++a) {
      const Index first = features * a / active, wide = features * (a + 1) / active - first;
      const double u = random.uniform(draw++);
      m.indices.push_back(static_cast<std::int32_t>(first + static_cast<Index>(u * u * static_cast<double>(wide))));
      m.values.push_back(static_cast<float>(u));
    }
    m.indptr.push_back(m.nnz());
  }
  return m;
}

/// A pair of layers on this rank alone.
struct Pair {
  comm::Communicator self{MPI_COMM_SELF, boost::mpi::comm_attach};
  correlate::MatrixSource a, b;
  std::unique_ptr<correlate::PairCorrelator> correlator;

  Pair(Index rows, Index features, Index active)
      : a(random_features(rows, features, active, 1)), b(random_features(rows, features, active, 2)) {}
  void open(const std::vector<Index>& shifts = {}) {
    correlate::PearsonSettings settings;
    settings.shifts = shifts;
    settings.threads = thread_count();
    correlator = std::make_unique<correlate::PairCorrelator>(self, settings);
    correlator->open(a, 0, b, 0);
  }
};

/// A pass for the best partners and, as a study has them by default, shifted ones.
Probe sums_probe(Index rows, Index features, Index active, Index shifts) {
  auto pair = std::make_shared<Pair>(rows, features, active);
  std::vector<Index> moved;
  for (Index shift = 1; shift <= shifts; ++shift) moved.push_back(shift * rows / (shifts + 1));
  pair->open(moved);
  const auto passes = static_cast<double>(1 + shifts), f = static_cast<double>(features), k = static_cast<double>(active);
  const double n = passes * static_cast<double>(rows);
  return {fmt::format("sums of {} x {} features, {} rows, {} active", features, features, rows, active),
          {{Work::postings, n * k}, {Work::products, n * k * k}, {Work::looks, passes * f * f}},
          [pair] { pair->correlator->correlate(); }};
}

Probe loading_probe(Index rows) {
  constexpr Index features = 4096, active = 48;
  auto pair = std::make_shared<Pair>(rows, features, active);
  return {"loading of a pair", {{Work::entries, 2.0 * static_cast<double>(rows * active)}}, [pair] { pair->open(); }};
}

/// From the correlations of a pair to its result in a file.
struct Matching {
  static constexpr Index rows = 4000, features = 2048, active = 16;
  std::filesystem::path folder;
  correlate::PairCorrelation correlation;
  correlate::MatchSide a, b;
  std::vector<double> sums_a, sums_b;
  int number = 0;

  explicit Matching(std::filesystem::path in) : folder(std::move(in)) {
    Pair pair(rows, features, active);
    pair.open({500, 1000, 1500, 2000});
    correlation = pair.correlator->correlate();
    a.counts = pair.a.totals().count;
    b.counts = pair.b.totals().count;
    sums_a = pair.a.totals().sum;
    sums_b = pair.b.totals().sum;
  }
  void run() {
    const correlate::MatchRules rules;
    const correlate::Matcher matcher(correlation, rules, a, b);
    auto matching = matcher.match({});
    constexpr double level = 0.05;
    const auto result = correlate::pair_result(correlation, matcher, std::move(matching), a, b, sums_a, sums_b, level, rules, {});
    const auto bytes = correlate::packed(result);
    const char* next = bytes.data();
    const auto again = correlate::unpacked(next);
    const auto path = folder / fmt::format("matches_{}.h5", number++);
    {
      auto file = io::File::create(path);
      correlate::lay_out_pair(file, "/pair", {features, features, correlation.a_to_b.places, 4, features, features});
      correlate::write_pair(file, "/pair", again, rows, a, b);
    }
    std::filesystem::remove(path);
  }
};

} // namespace

void add_correlate_families(const std::filesystem::path& work, double part, std::vector<Family>& families) {
  // More rows than a cache holds, of few features: postings, which wait for them; of many: products. Many features that meet on few rows,
  // but do meet (else they are not looked at one by one): looks.
  families.push_back({"sums", {Work::postings, Work::products, Work::looks}, [part] {
                        return std::vector<Probe>{sums_probe(part_of(300000, part), 1024, 8, 4),
                                                  sums_probe(part_of(60000, part), 4096, 96, 0),
                                                  sums_probe(part_of(30000, part), 3072, 12, 4)};
                      }});
  families.push_back({"loading", {Work::entries}, [part] { return std::vector<Probe>{loading_probe(part_of(20000, part))}; }});
  families.push_back(
      {"matching", {Work::matches}, [work] {
         auto matching = std::make_shared<Matching>(work);
         return std::vector<Probe>{{"matching of a pair", {{Work::matches, 2.0 * Matching::features}}, [matching] { matching->run(); }}};
       }});
}

} // namespace concord::cost
