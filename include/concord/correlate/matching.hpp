#pragma once
/// From best partners to matched features: pairing rules and the paper's filters. Local.

#include "concord/correlate/pearson.hpp"

#include <array>
#include <set>
#include <string>
#include <vector>

namespace concord::correlate {

/// How features are paired; candidates are B's best partners in A throughout.
///   mutual       i and j are each other's best
///   one_to_one   the published rule: an A feature chosen by several B features keeps the first of them that passed the
///                filters, not the best (docs/concepts.md)
///   many_to_one  every B feature takes its best A feature
enum class Pairing { mutual, one_to_one, many_to_one };
/// @throws Error config for an unknown word.
Pairing parse_pairing(const std::string& word);

struct MatchRules {
  Pairing pairing = Pairing::mutual;
  double min_r = 0;               ///< a match needs r above it
  Index min_firings = 10;         ///< both features must be active on at least so many rows
  bool drop_non_concept = false;  ///< drop a match with a junk token among the top five of either feature
  bool need_shared_token = false; ///< drop a match whose top fives share no token
};

/// Texts of the five strongest activations of each feature, fewer when it fires less often.
using TopTokens = std::vector<std::vector<std::string>>;

/// Candidates left behind each step: with a partner, firing often enough, passing the token filters, paired, above min_r.
constexpr std::size_t filter_steps = 5;

struct Matching {
  std::vector<std::uint8_t> kept;   ///< [F_B]: 1 when (a = b_to_a.partner[j][0], j) is a match
  std::vector<std::uint8_t> mutual; ///< [F_B]: 1 when j is also the best of its best
  std::array<Index, filter_steps> counts{};
};

/// @param counts_a, counts_b  active rows of each feature
/// @param tokens_a, tokens_b  needed by the token filters, else empty
Matching match(const PairCorrelation& pair, const MatchRules& rules, const std::vector<Index>& counts_a, const std::vector<Index>& counts_b,
               const TopTokens& tokens_a, const TopTokens& tokens_b);

/// Tokens that the published filter drops (arXiv 2410.06981).
const std::set<std::string>& non_concept_tokens();

} // namespace concord::correlate
