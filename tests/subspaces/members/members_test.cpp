// Members of concepts: against a slow reference, in planted worlds, and probes against scikit-learn (golden/make_subspaces_golden.py).
#include "concord/core/text.hpp"
#include "concord/subspaces/members/members.hpp"

#include <nlohmann/json.hpp>

#include "subspaces/worlds.hpp"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

namespace concord::subspaces {
namespace {

using test::world;
using namespace worlds;

/// Spans of a phrase and random ones beside them.
void add_phrase(std::vector<Span>& spans, std::int32_t concept_number, std::int32_t phrase, int half, Index length, Index count) {
  for (Index i = 0; i < count; ++i)
    for (const bool beside : {false, true}) {
      Span span;
      span.begin = static_cast<Index>(spans.size()) * 10;
      span.end = span.begin + length;
      span.concept_number = concept_number;
      span.phrase = phrase;
      span.phrase_half = static_cast<std::int8_t>(half);
      span.random = beside;
      spans.push_back(span);
    }
}

/// Concepts of `phrases` phrases on each half, of lengths 1 and 2 in turn; some phrases have 20 spans, most of them 1 to 3.
std::vector<Span> spans_of(std::uint64_t seed, int concepts, int phrases, double frequent) {
  const Philox random(seed, "frequencies");
  std::vector<Span> spans;
  std::int32_t phrase = 0;
  for (int c = 0; c < concepts; ++c)
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < phrases; ++i, ++phrase) {
        const auto lot = static_cast<std::uint64_t>(phrase);
        add_phrase(spans, c, phrase, half, 1 + i % 2,
                   random.uniform(2 * lot) < frequent ? 20 : 1 + static_cast<Index>(random.below(2 * lot + 1, 3)));
      }
  return spans;
}

/// Spans of which concepts have unequal numbers of phrases, phrases of spans, and spans of lengths.
std::vector<Span> uneven_spans(std::uint64_t seed, int concepts) {
  const Philox random(seed, "uneven");
  std::vector<Span> spans;
  std::int32_t phrase = 0;
  std::uint64_t draw = 0;
  for (int c = 0; c < concepts; ++c)
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < 4 + c; ++i, ++phrase) {
        const auto length = 1 + static_cast<Index>(random.below(draw++, 3));
        add_phrase(spans, c, phrase, half, length, 1 + static_cast<Index>(random.below(draw++, 6)));
        if (random.uniform(draw++) < 0.3) add_phrase(spans, c, phrase, half, length + 1, 1);
      }
  return spans;
}

std::vector<float> feature(const std::vector<Span>& spans, const Philox& random, const std::function<double(const Span&)>& chance) {
  std::vector<float> values;
  for (std::size_t i = 0; i < spans.size(); ++i)
    values.push_back(random.uniform(2 * i) < chance(spans[i]) ? 0.5F + static_cast<float>(random.uniform(2 * i + 1)) : 0.0F);
  return values;
}

std::vector<ConceptSpans> all_defined(int concepts) {
  return std::vector<ConceptSpans>(at(concepts), ConceptSpans{100, 20, true});
}

// --- The slow reference -----------------------------------------------------------------------------------------------

class Slow {
public:
  Slow(const std::vector<Span>& spans, const std::vector<ConceptSpans>& defined, const Dense& dense, const SubspacesSettings& settings,
       std::uint64_t seed)
      : spans_(spans), defined_(defined), dense_(dense), settings_(settings) {
    for (int draw = 0; draw < settings.label_draws; ++draw) dealt_.push_back(dealt_anew(spans, seed, draw));
    for (std::size_t c = 0; c < defined.size(); ++c) look_for(static_cast<int>(c));
  }

  ConceptMembers members(int c) const {
    ConceptMembers chosen;
    if (!defined_[at(c)].defined) return chosen;
    std::vector<Member> candidates;
    for (Member member : found_.at(c)) {
      member.q = q(c, strength(member));
      if (member.q <= settings_.max_q) candidates.push_back(member);
    }
    chosen.candidates = static_cast<Index>(candidates.size());
    std::stable_sort(candidates.begin(), candidates.end(), [](const Member& a, const Member& b) { return strength(a) > strength(b); });
    candidates.resize(std::min(candidates.size(), at(settings_.max_members)));
    std::vector<float> sum(spans_.size());
    double so_far = 0.5;
    while (!candidates.empty()) {
      std::size_t best = 0;
      double best_auc = -1;
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        const double auc = mean_auc(added(sum, candidates[i]), c, 0);
        if (auc > best_auc) {
          best_auc = auc;
          best = i;
        }
      }
      if (best_auc <= so_far && static_cast<Index>(chosen.members.size()) >= settings_.k) break;
      so_far = best_auc;
      sum = added(sum, candidates[best]);
      chosen.members.push_back(candidates[best]);
      chosen.sum_auc_chosen.push_back(best_auc);
      chosen.sum_auc_held.push_back(mean_auc(sum, c, 1));
      candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(best));
    }
    return chosen;
  }

private:
  static double strength(const Member& member) { return std::min(member.auc[0][0], member.auc[0][1]); }
  static Index bin(double auc) { return static_cast<Index>(std::floor(auc * 2000)); }

  double mean_auc(const std::vector<float>& values, int c, int half) const {
    return (slow_auc(spans_, values, c, half, Others::concepts) + slow_auc(spans_, values, c, half, Others::random)) / 2;
  }

  std::vector<float> added(std::vector<float> sum, const Member& member) const {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += dense_[at(member.feature)][i] / static_cast<float>(member.scale);
    return sum;
  }

  void look_for(int c) {
    std::set<std::int32_t> phrases;
    for (const Span& span : spans_)
      if (span.concept_number == c && span.phrase_half == 0 && !span.random) phrases.insert(span.phrase);
    phrases_.push_back(phrases.size());
    found_[c] = {};
    if (!defined_[at(c)].defined) return;
    for (std::size_t f = 0; f < dense_.size(); ++f) {
      Member member;
      member.feature = static_cast<std::int32_t>(f);
      for (const int half : {0, 1})
        for (const Others others : {Others::concepts, Others::random})
          member.auc[half][static_cast<int>(others)] = slow_auc(spans_, dense_[f], c, half, others);
      std::set<std::int32_t> covered;
      double sum = 0;
      double count = 0;
      for (std::size_t i = 0; i < spans_.size(); ++i) {
        if (spans_[i].phrase_half != 0 || dense_[f][i] == 0) continue;
        sum += dense_[f][i];
        ++count;
        if (spans_[i].concept_number == c && !spans_[i].random) covered.insert(spans_[i].phrase);
      }
      member.coverage = static_cast<double>(covered.size()) / static_cast<double>(phrases.size());
      member.scale = sum / count;
      if (strength(member) >= settings_.min_auc && member.coverage >= settings_.min_coverage) found_[c].push_back(member);
      for (const auto& dealt : dealt_) {
        const double auc = std::min(slow_auc(dealt, dense_[f], c, 0, Others::concepts), slow_auc(dealt, dense_[f], c, 0, Others::random));
        if (auc >= settings_.min_auc) chance_[c].push_back(auc);
      }
    }
  }

  /// Of the nine concepts nearest in their number of phrases chance is pooled.
  double q(int c, double auc) const {
    std::vector<int> order;
    for (std::size_t i = 0; i < defined_.size(); ++i)
      if (defined_[i].defined) order.push_back(static_cast<int>(i));
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return phrases_[at(a)] < phrases_[at(b)]; });
    const auto place = std::find(order.begin(), order.end(), c) - order.begin();
    const auto count = std::min<Index>(9, static_cast<Index>(order.size()));
    const auto first = std::clamp<Index>(place - 4, 0, static_cast<Index>(order.size()) - count);
    double least = 1;
    for (Index b = bin(settings_.min_auc); b <= bin(auc); ++b) {
      double by_chance = 1;
      for (Index i = first; i < first + count; ++i)
        if (chance_.contains(order[at(i)]))
          for (const double value : chance_.at(order[at(i)])) by_chance += bin(value) >= b ? 1 : 0;
      double here = 0;
      for (const Member& member : found_.at(c)) here += bin(strength(member)) >= b ? 1 : 0;
      least = std::min(least, by_chance / static_cast<double>(settings_.label_draws * count) / here);
    }
    return least;
  }

  const std::vector<Span>& spans_;
  const std::vector<ConceptSpans>& defined_;
  const Dense& dense_;
  const SubspacesSettings& settings_;
  std::vector<std::vector<Span>> dealt_;
  std::vector<std::size_t> phrases_;
  std::map<int, std::vector<Member>> found_;
  std::map<int, std::vector<double>> chance_;
};

void expect_equal(const ConceptMembers& found, const ConceptMembers& slow) {
  EXPECT_EQ(found.candidates, slow.candidates);
  ASSERT_EQ(found.members.size(), slow.members.size());
  for (std::size_t i = 0; i < found.members.size(); ++i) {
    const Member& a = found.members[i];
    const Member& b = slow.members[i];
    EXPECT_EQ(a.feature, b.feature) << i;
    for (const int half : {0, 1})
      for (const int others : {0, 1}) EXPECT_NEAR(a.auc[half][others], b.auc[half][others], 1e-12);
    EXPECT_NEAR(a.q, b.q, 1e-12);
    EXPECT_NEAR(a.coverage, b.coverage, 1e-12);
    EXPECT_NEAR(a.scale, b.scale, 1e-12);
    EXPECT_NEAR(found.sum_auc_chosen[i], slow.sum_auc_chosen[i], 1e-12);
    EXPECT_NEAR(found.sum_auc_held[i], slow.sum_auc_held[i], 1e-12);
  }
}

/// Features of every strength for every concept, and values in steps, so that there are ties.
Dense mixed_features(const std::vector<Span>& spans, int concepts, std::uint64_t seed) {
  Dense dense;
  for (std::uint64_t f = 0; f < 72; ++f) {
    const Philox random(seed, "feature", f);
    const double own = 0.2 + 0.8 * random.uniform(1'000'000);
    const double others = 0.4 * random.uniform(1'000'001) * own;
    const auto c = static_cast<std::int32_t>(f % static_cast<std::uint64_t>(concepts));
    dense.push_back(feature(spans, random, [&](const Span& s) { return s.concept_number == c && !s.random ? own : others; }));
    if (f % 3 == 0)
      for (float& value : dense.back()) value = std::ceil(4 * value) / 4;
    if (f % 12 == 7) dense.push_back(dense.back()); // the same once more
  }
  return dense;
}

TEST(Members, EqualTheSlowReference) {
  constexpr int concepts = 5;
  const auto spans = uneven_spans(4, concepts);
  auto defined = all_defined(concepts);
  defined[2].defined = false;
  const Dense dense = mixed_features(spans, concepts, 9);
  Index members = 0;
  for (const auto& [max_q, min_auc, max_members, k] :
       {std::tuple{0.2, 0.7, 32, 5}, {1.0, 0.6, 6, 2}, {0.05, 0.8, 32, 1}, {1.0, 0.5, 3, 5}}) {
    SubspacesSettings settings;
    settings.label_draws = 7;
    settings.max_q = max_q;
    settings.min_auc = min_auc;
    settings.max_members = max_members;
    settings.k = k;
    const Slow slow(spans, defined, dense, settings, 21);
    const auto found = choose_members(world(), spans, defined, share_of(world(), dense), settings, 21);
    ASSERT_EQ(found.size(), at(concepts));
    for (int c = 0; c < concepts; ++c) {
      SCOPED_TRACE(fmt::format("concept {} min_auc {}", c, min_auc));
      expect_equal(found[at(c)], slow.members(c));
      EXPECT_EQ(found[at(c)].probes.size(), c == 2 ? 0U : 3U);
      members += static_cast<Index>(found[at(c)].members.size());
    }
  }
  EXPECT_GT(members, 30);
}

bool same_bits(double a, double b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

TEST(Members, AreTheSameOnAnyNumberOfRanks) {
  constexpr int concepts = 7;
  const auto spans = uneven_spans(5, concepts);
  const Dense dense = mixed_features(spans, concepts, 11);
  SubspacesSettings settings;
  settings.max_q = 0.5;
  settings.min_auc = 0.6;
  const auto all = choose_members(alone(), spans, all_defined(concepts), share_of(alone(), dense), settings, 3);
  const auto found = choose_members(world(), spans, all_defined(concepts), share_of(world(), dense), settings, 3);
  Index members = 0;
  for (std::size_t c = 0; c < at(concepts); ++c) {
    EXPECT_EQ(found[c].candidates, all[c].candidates);
    ASSERT_EQ(found[c].members.size(), all[c].members.size());
    for (std::size_t i = 0; i < all[c].members.size(); ++i) {
      const Member& a = found[c].members[i];
      const Member& b = all[c].members[i];
      EXPECT_EQ(a.feature, b.feature);
      EXPECT_EQ(std::memcmp(a.auc, b.auc, sizeof a.auc), 0);
      EXPECT_TRUE(same_bits(a.q, b.q) && same_bits(a.coverage, b.coverage) && same_bits(a.scale, b.scale));
      EXPECT_TRUE(same_bits(found[c].sum_auc_chosen[i], all[c].sum_auc_chosen[i]));
      EXPECT_TRUE(same_bits(found[c].sum_auc_held[i], all[c].sum_auc_held[i]));
    }
    ASSERT_EQ(found[c].probes.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(found[c].probes[i].auc, all[c].probes[i].auc));
    members += static_cast<Index>(all[c].members.size());
  }
  EXPECT_GT(members, 20);
}

/// What fires on so few spans that it cannot be found elsewhere can be found where all pairs are with few spans: 20 spans of length 1 have
/// 400 of the 490 pairs with random ones, and are a fifth of the concept's spans.
TEST(Members, OfALengthThatIsRareAmongTheSpansAreFound) {
  std::vector<Span> spans;
  std::int32_t phrase = 0;
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 4; ++i) add_phrase(spans, 0, phrase++, half, 1, 5);
    for (int i = 0; i < 80; ++i) add_phrase(spans, 0, phrase++, half, 2 + i, 1);
    for (int i = 0; i < 40; ++i) add_phrase(spans, 1, phrase++, half, 1, 5);
  }
  const Philox random(1, "rare length");
  Dense dense{feature(spans, random, [](const Span& s) { return s.concept_number == 0 && s.length() == 1 && !s.random ? 1.0 : 0.0; })};
  SubspacesSettings settings;
  settings.min_coverage = 0;
  const auto defined = all_defined(2);
  const Slow slow(spans, defined, dense, settings, 1);
  const auto found = choose_members(world(), spans, defined, share_of(world(), dense), settings, 1);
  ASSERT_EQ(slow.members(0).members.size(), 1U);
  expect_equal(found[0], slow.members(0));
}

// --- Planted worlds ---------------------------------------------------------------------------------------------------

struct Planted {
  Dense dense;
  std::vector<int> concept_of; ///< of features that stand for one; -1: of none
};

/// Four features of each concept, on both halves; eight of each frequent phrase; the rest noise of many rates.
Planted planted_features(const std::vector<Span>& spans, int concepts, std::uint64_t seed) {
  Planted planted;
  std::map<std::int32_t, Index> occur;
  for (const Span& span : spans) occur[span.phrase] += span.random ? 0 : 1;
  std::uint64_t number = 0;
  const auto add = [&](int of_concept, const std::function<double(const Span&)>& chance) {
    planted.dense.push_back(feature(spans, Philox(seed, "planted", number++), chance));
    planted.concept_of.push_back(of_concept);
  };
  for (int c = 0; c < concepts; ++c)
    for (int i = 0; i < 4; ++i) add(c, [&](const Span& s) { return s.concept_number == c && !s.random ? 0.85 : 0.05; });
  for (const auto& [phrase, count] : occur)
    if (count > 10)
      for (int i = 0; i < 8; ++i) add(-1, [&](const Span& s) { return s.phrase == phrase && !s.random ? 1.0 : 0.02; });
  for (int i = 0; i < 120; ++i) add(-1, [&](const Span&) { return 0.05 + 0.007 * i; });
  return planted;
}

struct Tally {
  double planted = 0;              ///< of those that stand for a concept, the share that are its members
  std::vector<double> false_share; ///< of each concept's members in each world
  double mean() const { return std::accumulate(false_share.begin(), false_share.end(), 0.0) / static_cast<double>(false_share.size()); }
  /// Of the mean.
  double error() const {
    double squares = 0;
    for (const double share : false_share) squares += (share - mean()) * (share - mean());
    return std::sqrt(squares) / static_cast<double>(false_share.size());
  }
};

Tally tally(double max_q, std::uint64_t seeds) {
  constexpr int concepts = 6;
  SubspacesSettings settings;
  settings.max_q = max_q;
  settings.k = settings.max_members = 1000; // every candidate is taken
  Tally t;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto spans = spans_of(seed, concepts, 10, 0.1); // features of a concept's only frequent phrase have AUCs of about 0.9
    const Planted planted = planted_features(spans, concepts, seed);
    const auto found = choose_members(alone(), spans, all_defined(concepts), share_of(alone(), planted.dense), settings, seed);
    for (int c = 0; c < concepts; ++c) {
      const auto& members = found[at(c)].members;
      const auto right =
          std::count_if(members.begin(), members.end(), [&](const Member& m) { return planted.concept_of[at(m.feature)] == c; });
      t.planted += static_cast<double>(right) / (4 * concepts * static_cast<double>(seeds));
      const auto all = static_cast<double>(members.size());
      t.false_share.push_back((all - static_cast<double>(right)) / std::max(1.0, all));
    }
  }
  if (world().rank() == 0)
    std::printf("max_q %.2f: %.3f of the planted features, false %.4f +- %.4f\n", max_q, t.planted, t.mean(), t.error());
  return t;
}

TEST(Members, ArePlantedOnesAndFewOthers) {
  const Tally t = tally(0.05, 40);
  EXPECT_GT(t.planted, 0.9);
  EXPECT_LE(t.mean(), 0.05 + 4 * t.error());
}

/// It is q that keeps features of a frequent phrase out.
TEST(Members, OfOnePhraseComeInWithoutQ) {
  const Tally t = tally(1, 40);
  EXPECT_GT(t.mean(), 0.05 + 4 * t.error());
}

/// The candidates themselves are of an honest rate, too: all of them are members where each is to be taken.
TEST(Members, CandidatesKeepTheRate) {
  constexpr int concepts = 6;
  const auto spans = spans_of(1, concepts, 10, 0);
  SubspacesSettings settings;
  settings.min_auc = 0.55; // noise gets there
  settings.max_q = 0.2;
  settings.k = settings.max_members = 1000;
  double right = 0;
  double wrong = 0;
  for (std::uint64_t seed = 0; seed < 15; ++seed) {
    const Planted planted = planted_features(spans, concepts, 100 + seed);
    const auto found = choose_members(alone(), spans, all_defined(concepts), share_of(alone(), planted.dense), settings, seed);
    for (int c = 0; c < concepts; ++c) {
      EXPECT_EQ(found[at(c)].candidates, static_cast<Index>(found[at(c)].members.size()));
      for (const Member& member : found[at(c)].members) ++(planted.concept_of[at(member.feature)] == c ? right : wrong);
    }
  }
  EXPECT_EQ(right, 15 * 4 * concepts);
  EXPECT_LE(wrong, most_by_chance(0.2, right + wrong));
}

TEST(Members, AreNoMoreThanThereAre) {
  const auto spans = spans_of(1, 2, 8, 0);
  SubspacesSettings settings;
  settings.max_q = 1;
  const Dense dense{feature(spans, Philox(1, "a"), [](const Span& s) { return s.concept_number == 0 && !s.random ? 0.9 : 0.1; }),
                    std::vector<float>(spans.size()),
                    feature(spans, Philox(2, "b"), [](const Span& s) { return s.concept_number == 0 && !s.random ? 0.9 : 0.1; })};
  const auto found = choose_members(world(), spans, all_defined(2), share_of(world(), dense), settings, 1);
  EXPECT_EQ(found[0].members.size(), 2U);
  EXPECT_EQ(found[0].candidates, 2);
  ASSERT_EQ(found[0].probes.size(), 3U);
  EXPECT_FALSE(std::isnan(found[0].probes[1].auc));
  EXPECT_EQ(found[0].probes[2].members, 5);
  EXPECT_TRUE(std::isnan(found[0].probes[2].auc));
  EXPECT_TRUE(found[1].members.empty());
  const auto none = choose_members(world(), spans, all_defined(2), share_of(world(), {}), settings, 1);
  EXPECT_TRUE(none[0].members.empty());
}

// --- Probes -----------------------------------------------------------------------------------------------------------

/// Members are all features given, so probes of so many members are there.
void compare_probes(const nlohmann::json& golden) {
  std::vector<Span> spans;
  for (std::size_t i = 0; i < golden["concept"].size(); ++i) {
    Span span;
    span.end = golden["length"][i].get<Index>();
    span.concept_number = golden["concept"][i].get<std::int32_t>();
    span.phrase_half = golden["half"][i].get<std::int8_t>();
    span.random = golden["random"][i].get<int>() == 1;
    span.phrase = 10 * span.concept_number + span.phrase_half;
    spans.push_back(span);
  }
  SubspacesSettings settings;
  settings.min_auc = 0;
  settings.max_q = 1;
  settings.min_coverage = 0;
  const auto all = golden["values"].get<Dense>();
  for (const auto& [name, auc] : golden["auc"].items()) {
    Dense dense;
    for (const char c : name)
      if (c != '+') dense.push_back(all[at(c - '0')]);
    const auto found = choose_members(world(), spans, {{100, 10, true}, {}, {}}, share_of(world(), dense), settings, 1);
    ASSERT_EQ(found[0].members.size(), dense.size()) << name;
    const std::size_t probe = dense.size() == 1 ? 0 : dense.size() == 2 ? 1 : 2;
    EXPECT_EQ(found[0].probes[probe].members, static_cast<Index>(dense.size()));
    EXPECT_NEAR(found[0].probes[probe].auc, auc.get<double>(), 1e-12) << name;
  }
}

TEST(Members, ProbesEqualScikitLearn) {
  const auto path = std::filesystem::path(std::getenv("CONCORD_SOURCE")) / "tests/golden/subspaces.json";
  const auto golden = nlohmann::json::parse(read_text(path, "golden"));
  for (const char* name : {"noisy", "separable"}) {
    SCOPED_TRACE(name);
    compare_probes(golden[name]);
  }
}

// --- Concepts and phrases dealt out -----------------------------------------------------------------------------------

TEST(ConceptsOfSpans, AreDefinedByOccurrencesAndPhrases) {
  std::vector<Span> spans;
  add_phrase(spans, 0, 0, 0, 1, 30); // random ones do not count
  add_phrase(spans, 1, 1, 0, 1, 3);
  add_phrase(spans, 1, 2, 1, 1, 2);
  add_phrase(spans, 2, 3, 0, 1, 4);
  add_phrase(spans, 2, 4, 0, 1, 0);
  SubspacesSettings settings;
  settings.min_occurrences = 5;
  settings.min_phrases = 2;
  const auto found = concept_spans(spans, 4, settings);
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(std::tuple(found[0].occurrences, found[0].phrases, found[0].defined), std::tuple(30, 1, false));
  EXPECT_EQ(std::tuple(found[1].occurrences, found[1].phrases, found[1].defined), std::tuple(5, 2, true));
  EXPECT_EQ(std::tuple(found[2].occurrences, found[2].phrases, found[2].defined), std::tuple(4, 1, false));
  EXPECT_EQ(std::tuple(found[3].occurrences, found[3].phrases, found[3].defined), std::tuple(0, 0, false));
}

TEST(DealtAnew, KeepsNumbersAndLengths) {
  constexpr int concepts = 5;
  const auto spans = uneven_spans(8, concepts);
  std::map<std::int32_t, std::map<Index, Index>> lengths;
  for (const Span& span : spans)
    if (!span.random) ++lengths[span.phrase][span.length()];
  const auto length_of = [&](std::int32_t phrase) { // that of most spans, the shorter one of two
    Index best = 0;
    for (const auto& [length, count] : lengths[phrase])
      if (best == 0 || count > lengths[phrase][best]) best = length;
    return best;
  };
  const auto numbers = [&](const std::vector<Span>& some) {
    std::map<std::pair<std::int32_t, Index>, std::set<std::int32_t>> phrases;
    for (const Span& span : some)
      if (span.phrase_half == 0) phrases[{span.concept_number, length_of(span.phrase)}].insert(span.phrase);
    std::map<std::pair<std::int32_t, Index>, std::size_t> counts;
    for (const auto& [key, set] : phrases) counts[key] = set.size();
    return counts;
  };
  std::set<std::vector<std::int32_t>> draws;
  for (int draw = 0; draw < 20; ++draw) {
    const auto dealt = dealt_anew(spans, 6, draw);
    ASSERT_EQ(dealt.size(), spans.size());
    EXPECT_EQ(numbers(dealt), numbers(spans));
    std::map<std::int32_t, std::int32_t> concept_of;
    std::vector<std::int32_t> all;
    for (std::size_t i = 0; i < spans.size(); ++i) {
      Span as_it_was = dealt[i];
      as_it_was.concept_number = spans[i].concept_number;
      EXPECT_EQ(fields(as_it_was), fields(spans[i]));
      all.push_back(dealt[i].concept_number);
      if (spans[i].phrase_half == 1) {
        EXPECT_EQ(dealt[i].concept_number, -1);
      }
      EXPECT_EQ(concept_of.emplace(dealt[i].phrase, dealt[i].concept_number).first->second, dealt[i].concept_number)
          << "a phrase, and the random spans beside it, are of one concept";
    }
    draws.insert(all);
    expect_same_spans(dealt, dealt_anew(spans, 6, draw));
  }
  EXPECT_EQ(draws.size(), 20U);
}

/// Three phrases of one concept and seven of another, all of one length: each lands in the first in 3 of 10 draws.
TEST(DealtAnew, IsUniform) {
  std::vector<Span> spans;
  for (std::int32_t phrase = 0; phrase < 10; ++phrase) add_phrase(spans, phrase < 3 ? 0 : 1, phrase, 0, 1, 1);
  constexpr double draws = 1000;
  std::map<std::int32_t, double> in_first;
  for (int draw = 0; draw < draws; ++draw)
    for (const Span& span : dealt_anew(spans, 2, draw))
      if (!span.random && span.concept_number == 0) ++in_first[span.phrase];
  for (std::int32_t phrase = 0; phrase < 10; ++phrase) {
    EXPECT_LT(in_first[phrase], most_by_chance(0.3, draws)) << phrase;
    EXPECT_GT(in_first[phrase], least_by_chance(0.3, draws)) << phrase;
  }
}

} // namespace
} // namespace concord::subspaces
