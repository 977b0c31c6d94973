#include "subspaces/claim/headline.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"

#include <algorithm>
#include <cmath>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();
constexpr std::array<BasisKind, 7> looked_at{BasisKind::sae, BasisKind::residual, BasisKind::dealt, BasisKind::means,
                                             BasisKind::lda, BasisKind::leace,    BasisKind::pseudo};
constexpr Index level_permutations = 199;
constexpr double alpha = 0.05;

/// One kind of subspace at one pair of layers, of the concepts that its r is of.
struct Head {
  int kind = 0;
  std::size_t a = 0, b = 0; ///< places of the layers
  std::size_t place = 0;    ///< in [span_sets, basis_kinds, pairs]
  agreement::MatrixPair matrices;
  std::vector<Index> kept;
};

std::vector<Head> heads_of(const std::vector<EffectMatrices>& a, const std::vector<EffectMatrices>& b, const ClaimInputs& inputs) {
  std::vector<Head> heads;
  for (const BasisKind kind : inputs.removed.kinds)
    for (std::size_t i = 0; i < a.size() * b.size() && std::count(looked_at.begin(), looked_at.end(), kind) > 0; ++i) {
      Head head{static_cast<int>(kind), i / b.size(), i % b.size(), static_cast<std::size_t>(kind) * a.size() * b.size() + i, {}, {}};
      auto matrices = matrices_of(a[head.a], b[head.b], 0, 0, head.kind, inputs);
      if (!is_measured(matrices)) continue;
      head.kept = agreement::defined_in(matrices);
      head.matrices = of_concepts(std::move(matrices), head.kept);
      heads.push_back(std::move(head));
    }
  return heads;
}

/// Does tasks [0, count) on the ranks in turn. Collective.
template <typename Do>
void spread(const comm::Communicator& comm, Index count, Do task) {
  const comm::StopWithin stop;
  for (Index first = 0; first < count; first += comm.size()) {
    stop.throw_if_wanted(comm, "subspaces");
    comm::agree(comm, [&] {
      if (first + comm.rank() < count) task(first + comm.rank());
    });
  }
}

/// Draws of each head in pieces that take a rank a moment.
struct Pieces {
  Index draws;
  Index size = 10;
  Index of_head() const { return (draws + size - 1) / size; }
  Index first(Index task) const { return task % of_head() * size; }
  Index end(Index task) const { return std::min(draws, first(task) + size); }
};

/// [heads] share of the draws that the own test calls agreement.
std::vector<double> levels(const comm::Communicator& comm, const std::vector<Head>& heads, const HeadlineInputs& inputs) {
  const Pieces pieces{inputs.level_draws};
  std::vector<double> counts(2 * heads.size()); // draws that are defined, and those called agreement
  spread(comm, pieces.of_head() * static_cast<Index>(heads.size()), [&](Index task) {
    const auto head = at(task / pieces.of_head());
    agreement::SelfLevelOptions options;
    options.first = pieces.first(task);
    options.draws = pieces.end(task) - options.first;
    options.permutations = level_permutations;
    options.alpha = alpha;
    options.seed = inputs.claim.seed;
    const auto level = agreement::self_level(heads[head].matrices, options);
    if (level.draws == 0) return;
    counts[2 * head] += static_cast<double>(level.draws);
    const double share = std::isnan(level.grouped_robust) ? level.free_robust : level.grouped_robust;
    counts[2 * head + 1] += std::round(share * static_cast<double>(level.draws));
  });
  comm::sum(comm, counts);
  std::vector<double> shares;
  for (std::size_t head = 0; head < heads.size(); ++head)
    shares.push_back(counts[2 * head] > 0 ? counts[2 * head + 1] / counts[2 * head] : not_known);
  return shares;
}

/// The head's matrices from one draw after the other.
class Redrawn {
public:
  Redrawn(const Head& head, const std::vector<EffectMatrices>& a, const std::vector<EffectMatrices>& b, const HeadlineInputs& inputs)
      : head_(head), documents_(inputs.removals), a_(inputs.removals, documents_, a[head.a].kl_of_spans, head.kind, head.matrices.concepts),
        b_(inputs.removals, documents_, b[head.b].kl_of_spans, head.kind, head.matrices.concepts), seed_(inputs.claim.seed) {}
  agreement::AgreementNumbers numbers(Index draw) const {
    const Draw drawn = documents_.drawn(seed_, draw);
    auto pair = head_.matrices;
    for (int half = 0; half < halves; ++half) {
      pair.a[at(half)] = a_.means(drawn, half);
      pair.b[at(half)] = b_.means(drawn, half);
    }
    return agreement::agreement_numbers(of_concepts(std::move(pair), head_.kept));
  }

private:
  const Head& head_;
  Documents documents_;
  KlByDocument a_, b_;
  std::uint64_t seed_;
};

/// [heads] intervals.
std::vector<agreement::AgreementIntervals> intervals(const comm::Communicator& comm, const std::vector<Head>& heads,
                                                     const std::vector<EffectMatrices>& a, const std::vector<EffectMatrices>& b,
                                                     const HeadlineInputs& inputs) {
  const Pieces pieces{inputs.resamples, 20};
  const auto draws = at(inputs.resamples);
  std::vector<double> numbers(2 * draws * heads.size()); // r and half ratio
  spread(comm, pieces.of_head() * static_cast<Index>(heads.size()), [&](Index task) {
    const auto head = at(task / pieces.of_head());
    const Redrawn redrawn(heads[head], a, b, inputs);
    for (Index draw = pieces.first(task); draw < pieces.end(task); ++draw) {
      const auto of = redrawn.numbers(draw);
      numbers[2 * (head * draws + at(draw))] = of.r;
      numbers[2 * (head * draws + at(draw)) + 1] = of.half_ratio;
    }
  });
  comm::sum(comm, numbers);
  std::vector<agreement::AgreementIntervals> found;
  comm::agree(comm, [&] {
    for (std::size_t head = 0; head < heads.size(); ++head) {
      std::vector<agreement::AgreementNumbers> replicates(draws);
      for (std::size_t draw = 0; draw < draws; ++draw) {
        replicates[draw].r = numbers[2 * (head * draws + draw)];
        replicates[draw].half_ratio = numbers[2 * (head * draws + draw) + 1];
      }
      found.push_back(agreement::agreement_intervals(agreement::agreement_numbers(heads[head].matrices), replicates));
    }
  });
  return found;
}

} // namespace

const std::vector<std::string>& headline_datasets() {
  static const std::vector<std::string> names{"/claim/kl/self_level", "/claim/kl/r_low", "/claim/kl/r_high", "/claim/kl/ratio_low",
                                              "/claim/kl/ratio_high"};
  return names;
}

std::vector<std::vector<double>> headline_values(const comm::Communicator& comm, std::vector<EffectMatrices> a,
                                                 std::vector<EffectMatrices> b, const HeadlineInputs& inputs) {
  for (auto* layers : {&a, &b})
    for (auto& effects : *layers) {
      comm::broadcast(comm, effects.kl);
      comm::broadcast(comm, effects.kl_of_spans);
    }
  std::vector<Head> heads;
  comm::agree(comm, [&] { heads = heads_of(a, b, inputs.claim); });
  const auto level = levels(comm, heads, inputs);
  const auto interval = intervals(comm, heads, a, b, inputs);
  const std::size_t size = at(span_sets * basis_kinds) * a.size() * b.size();
  std::vector<std::vector<double>> values(headline_datasets().size(), std::vector<double>(size, not_known));
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const std::size_t place = heads[head].place;
    values[0][place] = level[head];
    values[1][place] = interval[head].r.interval.low;
    values[2][place] = interval[head].r.interval.high;
    values[3][place] = interval[head].half_ratio.interval.low;
    values[4][place] = interval[head].half_ratio.interval.high;
  }
  return values;
}

void say_headline(const std::vector<std::vector<double>>& values, const std::vector<double>& robust_t, const std::vector<double>& r,
                  const std::vector<double>& ratio, const std::vector<std::string>& pairs, Index level_draws) {
  for (const BasisKind kind : looked_at) {
    const std::size_t first = static_cast<std::size_t>(kind) * pairs.size();
    std::size_t best = first;
    for (std::size_t i = first; i < first + pairs.size(); ++i)
      if (std::isnan(robust_t[best]) || robust_t[i] > robust_t[best]) best = i;
    if (std::isnan(r[best])) continue;
    std::string said = fmt::format("subspaces: {} at layers {}: r {:.3f}", name_of(kind), pairs[best - first], r[best]);
    if (!std::isnan(values[1][best])) said += fmt::format(" (95 % {:.3f} to {:.3f})", values[1][best], values[2][best]);
    if (!std::isnan(ratio[best])) said += fmt::format(", ratio {:.2f}", ratio[best]);
    if (!std::isnan(ratio[best]) && !std::isnan(values[3][best]))
      said += fmt::format(" (95 % {:.2f} to {:.2f})", values[3][best], values[4][best]);
    if (!std::isnan(values[0][best]))
      said += fmt::format("; the test by itself finds agreement in {:.1f} % of draws without any", 100 * values[0][best]);
    log_info("{}", said);
    const double draws = static_cast<double>(level_draws);
    if (level_draws > 0 && !std::isnan(values[0][best]) &&
        agreement::wilson_interval(std::llround(values[0][best] * draws), level_draws, 0.95).low > alpha)
      log_warn("subspaces: p of {} is too small: its test finds agreement at 0.05 in {:.0f} % of draws without any", name_of(kind),
               100 * values[0][best]);
  }
}

} // namespace concord::subspaces
