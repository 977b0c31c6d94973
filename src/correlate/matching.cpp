#include "concord/correlate/matching.hpp"

#include "concord/core/error.hpp"

#include <algorithm>

namespace concord::correlate {

Pairing parse_pairing(const std::string& word) {
  if (word == "mutual") return Pairing::mutual;
  if (word == "one-to-one") return Pairing::one_to_one;
  if (word == "many-to-one") return Pairing::many_to_one;
  fail(ExitCode::config, "unknown pairing '{}'; use mutual, one-to-one or many-to-one", word);
}

const std::set<std::string>& non_concept_tokens() {
  static const std::set<std::string> tokens{".", "\n", "\\n", "", " ", "-", ",", "!", "?", "<bos>", "|bos|", "<|endoftext|>", "<pad>"};
  return tokens;
}

namespace {

bool passes_token_filters(const MatchRules& rules, const std::vector<std::string>& a, const std::vector<std::string>& b) {
  const auto is_junk = [](const std::string& token) { return non_concept_tokens().contains(token); };
  if (rules.drop_non_concept && (std::any_of(a.begin(), a.end(), is_junk) || std::any_of(b.begin(), b.end(), is_junk))) return false;
  const auto in_b = [&](const std::string& token) { return std::find(b.begin(), b.end(), token) != b.end(); };
  return !rules.need_shared_token || std::any_of(a.begin(), a.end(), in_b);
}

} // namespace

Matching match(const PairCorrelation& pair, const MatchRules& rules, const std::vector<Index>& counts_a, const std::vector<Index>& counts_b,
               const TopTokens& tokens_a, const TopTokens& tokens_b) {
  const std::size_t features_b = counts_b.size();
  const auto best_a = [&](std::size_t j) { return pair.b_to_a.partner[j * static_cast<std::size_t>(pair.b_to_a.places)]; };
  const auto best_b = [&](std::size_t i) { return pair.a_to_b.partner[i * static_cast<std::size_t>(pair.a_to_b.places)]; };
  std::vector<Index> chosen(counts_a.size(), 0); // how many B features choose each A feature, before any filter
  for (std::size_t j = 0; j < features_b; ++j)
    if (best_a(j) >= 0) ++chosen[static_cast<std::size_t>(best_a(j))];
  std::vector<std::uint8_t> taken(counts_a.size(), 0);
  const bool with_tokens = rules.drop_non_concept || rules.need_shared_token;
  Matching result{std::vector<std::uint8_t>(features_b, 0), std::vector<std::uint8_t>(features_b, 0), {}};
  for (std::size_t j = 0; j < features_b; ++j) {
    if (best_a(j) < 0) continue;
    const auto a = static_cast<std::size_t>(best_a(j));
    result.mutual[j] = best_b(a) == static_cast<std::int32_t>(j) ? 1 : 0;
    ++result.counts[0];
    if (counts_a[a] < rules.min_firings || counts_b[j] < rules.min_firings) continue;
    ++result.counts[1];
    if (with_tokens && !passes_token_filters(rules, tokens_a[a], tokens_b[j])) continue;
    ++result.counts[2];
    if (rules.pairing == Pairing::mutual && result.mutual[j] == 0) continue;
    if (rules.pairing == Pairing::one_to_one && chosen[a] > 1 && taken[a]++ != 0) continue;
    ++result.counts[3];
    if (!(pair.b_to_a.r[j * static_cast<std::size_t>(pair.b_to_a.places)] > rules.min_r)) continue;
    ++result.counts[4];
    result.kept[j] = 1;
  }
  return result;
}

} // namespace concord::correlate
