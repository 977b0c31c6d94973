// Families of phrases: what members are chosen on has no inflection among what they are reported on.
#include "concord/subspaces/members/members.hpp"

#include "support/support.hpp"
#include <set>

namespace concord::subspaces {
namespace {

concepts::ConceptLists lists_of(const std::vector<std::vector<std::string>>& concepts) {
  concepts::ConceptLists lists;
  for (const auto& phrases : concepts) {
    lists.concepts.push_back({fmt::format("c{}", lists.concepts.size()), ""});
    for (const auto& text : phrases) lists.phrases.push_back({text, static_cast<Index>(lists.concepts.size()) - 1, 1});
  }
  return lists;
}

TEST(Families, JoinInflectionsAndPhrasesWithTheirWords) {
  const auto families =
      phrase_families(lists_of({{"morning", "mornings", "Time", "long time", "of the", "the king of France", "kings", "time of day", "cat",
                                 "cow", "countries", "country", "leaf", "leaves", "he", "him", "his"},
                                {"morning star", "us", "use"}}));
  //                              morning  s  Time  long  of   king France  s  of day  cat cow countries y leaf leaves he him his | another
  //                              concept
  const std::vector<std::int32_t> expected{0, 0, 2, 2, 4, 5, 5, 2, 8, 9, 10, 10, 12, 12, 14, 15, 16, 17, 18, 19};
  EXPECT_EQ(families, expected);
}

TEST(Families, StayWholeInHalvesAndWhenPhrasesAreDealtAnew) {
  const auto lists = lists_of(
      {{"day", "days", "night", "nights", "year", "years", "hour", "hours"}, {"king", "kings", "queen", "queens", "duke", "dukes"}});
  const auto families = phrase_families(lists);
  std::vector<Index> offsets{0};
  std::vector<Span> spans;
  for (std::size_t p = 0; p < lists.phrases.size(); ++p)
    for (int copy = 0; copy < 3; ++copy) {
      Span span;
      span.begin = offsets.back() + 2;
      span.end = span.begin + 1;
      span.phrase = static_cast<std::int32_t>(p);
      span.family = families[p];
      span.concept_number = static_cast<std::int32_t>(lists.phrases[p].of_concept);
      spans.push_back(span);
      offsets.push_back(offsets.back() + 8);
    }
  const comm::Communicator alone(MPI_COMM_SELF, boost::mpi::comm_attach);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto chosen = choose_spans(alone, spans, {offsets, {}}, {seed, static_cast<Index>(lists.phrases.size()), 20});
    std::map<std::int32_t, std::set<int>> halves;
    std::map<std::pair<int, int>, std::set<std::int32_t>> phrases; // concept, half
    for (const Span& span : chosen) {
      halves[span.family].insert(span.phrase_half);
      phrases[{span.concept_number, span.phrase_half}].insert(span.phrase);
    }
    for (const auto& [family, of] : halves) EXPECT_EQ(of.size(), 1U);
    EXPECT_EQ((phrases[{0, 0}].size()), 4U); // four families of two
    EXPECT_EQ((phrases[{1, 0}].size() + phrases[{1, 1}].size()), 6U);
    std::map<std::int32_t, std::set<std::int32_t>> concepts;
    for (const Span& span : dealt_anew(chosen, seed, 0))
      if (span.phrase_half == 0) concepts[span.family].insert(span.concept_number);
    for (const auto& [family, of] : concepts) EXPECT_EQ(of.size(), 1U);
  }
}

} // namespace
} // namespace concord::subspaces
