#pragma once
/// Settings of stage `correlate`. Local.

#include "concord/core/settings.hpp"

namespace concord::correlate {

/// How features are paired.
///   mutual       i and j are each other's best
///   greedy       the pairs of largest r first, while both are free
///   optimal      one to one with the largest sum of r
///   many_to_one  every B feature takes its best A feature
///   paper        the published rule (arXiv 2410.06981): an A feature goes to the first B feature that chose it and passed the
///                filters, not to the best (docs/concepts.md)
enum class Pairing { mutual, greedy, optimal, many_to_one, paper };

/// Which pairs of features are matches.
struct MatchRules {
  Pairing pairing = Pairing::mutual;
  double min_r = 0;
  double max_q = 0.05;
  Index min_firings = 10;
  bool drop_non_concept = false;
  bool need_shared_token = false;
};

} // namespace concord::correlate

namespace concord::settings {
template <>
struct WordsOf<correlate::Pairing> {
  static constexpr std::array<const char*, 5> words{"mutual", "greedy", "optimal", "many-to-one", "paper"};
};
} // namespace concord::settings

namespace concord::correlate {

struct CorrelateSettings {
  Index best = 16;
  MatchRules rules;
  Index null_shifts = 4;
  Index null_features = 512;
  double level = 0.05;
  bool matrix = false;
  bool matrix_coactive = false;
  int groups = 0;
  double memory_gib = 4;
  Device device = Device::cpu;
  bool allow_shared_gpu = false;
  double gpu_memory_gib = 0;

  /// Whether correlations beside those of the best partners are written.
  bool writes_matrix() const { return matrix || matrix_coactive; }

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("best", s.best, within(2, largest_int), "best partners kept a feature, both ways");
    setting("pairing", s.rules.pairing, one_of<Pairing>(),
            "how features are paired (docs/concepts.md); paper: the published order-dependent one-to-one");
    setting("min_r", s.rules.min_r, within(-1, 1), "keep matches with r above it (the papers: 0.1)");
    setting("max_q", s.rules.max_q, positive(1), "false discovery rate of the matches, where there is a null; 1: keep all");
    setting("min_firings", s.rules.min_firings, within(0, largest_index), "both features must be active on at least so many rows");
    setting("drop_non_concept", s.rules.drop_non_concept, anything(),
            "drop matches with a junk token (punctuation, BOS) among the top five of either feature");
    setting("need_shared_token", s.rules.need_shared_token, anything(), "drop matches whose top fives share no token");
    setting("null_shifts", s.null_shifts, within(0, largest_int),
            "passes with B's documents shifted against A's: a null for the best r; 0: none");
    setting(
        "null_features", s.null_features, within(0, largest_int),
        "features of a side whose best r is taken at each shift (1/32 of all where that is more); all are taken where a side has at most "
        "four times as many, or where all shifts give fewer than 256 values; 0: all");
    setting("level", s.level, inside(0, 1), "level of each feature's threshold for the best r");
    setting("matrix", s.matrix, anything(), "also write all correlations, matches.h5.matrix/");
    setting("matrix_coactive", s.matrix_coactive, anything(),
            "instead of all write those of features that are active together, sparse, with their counts");
    setting("groups", s.groups, within(0, largest_int), "groups of ranks with a pair of layers each; 0: by size",
            settings::Digest::ignored);
    setting("memory_gib", s.memory_gib, positive(), "features and sums on each rank; what does not fit is read in pieces",
            settings::Digest::ignored);
    setting("device", s.device, one_of({Device::cpu, Device::cuda, Device::emulated}),
            "cuda: one GPU a rank, the same bits; emulated: the GPU's kernels on the CPU, to check them", settings::Digest::ignored);
    setting("allow_shared_gpu", s.allow_shared_gpu, anything(), "let several ranks correlate on one GPU", settings::Digest::ignored);
    setting("gpu_memory_gib", s.gpu_memory_gib, at_least(0), "features and sums on each rank's GPU; 0: its part of what is free",
            settings::Digest::ignored);
  }
};

} // namespace concord::correlate
