#include "concord/subspaces/spans/spans.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

namespace concord::subspaces {
namespace {

constexpr std::uint64_t attempts = 16; // to find a random span

Index context_of(const ContextPlaces& contexts, Index row) {
  return std::upper_bound(contexts.offsets.begin(), contexts.offsets.end(), row) - contexts.offsets.begin() - 1;
}

/// A key that orders occurrences at random, whatever rank has them.
std::uint64_t lot(const Philox& random, const Span& span) {
  return random.bits(static_cast<std::uint64_t>(span.begin));
}

/// The occurrences with the smallest lots of each phrase. Ranks send those below a bound that leaves out hardly any of them.
std::vector<Span> drawn(const comm::Communicator& comm, const std::vector<Span>& mine, const SpanChoice& choice) {
  const Philox random(choice.seed, "occurrences");
  std::vector<Index> counts(at(choice.phrases));
  for (const Span& span : mine) ++counts[at(span.phrase)];
  comm::sum(comm, counts);
  const auto wanted = static_cast<double>(choice.most_of_phrase);
  const double enough = wanted + 8 * std::sqrt(wanted) + 32;
  std::vector<Span> likely;
  for (const Span& span : mine)
    if (static_cast<double>(lot(random, span)) * 0x1p-64 < enough / static_cast<double>(counts[at(span.phrase)])) likely.push_back(span);
  auto all = comm::all_gather(comm, likely);
  std::sort(all.begin(), all.end(), [&](const Span& a, const Span& b) {
    return std::tuple(a.phrase, lot(random, a), a.begin, a.end) < std::tuple(b.phrase, lot(random, b), b.begin, b.end);
  });
  std::vector<Span> chosen;
  Index of_phrase = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    of_phrase = i > 0 && all[i].phrase == all[i - 1].phrase ? of_phrase + 1 : 0;
    if (of_phrase < choice.most_of_phrase) chosen.push_back(all[i]);
  }
  return chosen;
}

/// Families of a concept, in random order, go to the half that has fewer phrases so far.
void halve_phrases(std::vector<Span>& spans, std::uint64_t seed) {
  const Philox random(seed, "phrase halves");
  std::map<std::tuple<std::int32_t, std::uint64_t, std::int32_t>, std::set<std::int32_t>> in_order; // concept, lot, family -> phrases
  for (const Span& span : spans)
    in_order[{span.concept_number, random.bits(static_cast<std::uint64_t>(family_of(span))), family_of(span)}].insert(span.phrase);
  std::map<std::pair<std::int32_t, std::int32_t>, std::int8_t> half; // concept, family
  std::int32_t concept_number = -1;
  std::int8_t first = 0;
  std::array<std::size_t, 2> phrases{};
  for (const auto& [key, members] : in_order) {
    if (std::get<0>(key) != concept_number) {
      concept_number = std::get<0>(key);
      first = static_cast<std::int8_t>(random.bits((std::uint64_t{1} << 32) + static_cast<std::uint64_t>(concept_number)) & 1U);
      phrases = {};
    }
    const bool even = phrases[0] == phrases[1];
    const auto taken = static_cast<std::int8_t>(even ? first : phrases[0] < phrases[1] ? 0 : 1);
    half[{concept_number, std::get<2>(key)}] = taken;
    phrases[taken == 0 ? 0 : 1] += members.size();
  }
  for (Span& span : spans) span.phrase_half = half.at({span.concept_number, family_of(span)});
}

/// Documents go to the halves in turn, in random order. Few documents leave halves that say little: then contexts stand for them.
void halve_documents(std::vector<Span>& spans, const ContextPlaces& contexts, std::uint64_t seed) {
  std::set<Index> documents;
  for (const Span& span : spans) documents.insert(span.document);
  if (static_cast<Index>(documents.size()) < least_documents) {
    documents.clear();
    for (Span& span : spans) documents.insert(span.document = context_of(contexts, span.begin));
  }
  const Philox random(seed, "document halves");
  std::map<std::pair<std::uint64_t, Index>, Index> in_order;
  for (const Index document : documents) in_order.emplace(std::pair{random.bits(static_cast<std::uint64_t>(document)), document}, document);
  std::map<Index, std::int8_t> half;
  std::int8_t next = 0;
  for (const auto& [key, document] : in_order) {
    half[document] = next;
    next = static_cast<std::int8_t>(1 - next);
  }
  for (Span& span : spans) span.document_half = half.at(span.document);
}

/// Draws random spans of an occurrence: at the same place of another context.
class RandomSpans {
public:
  RandomSpans(const Span& span, const ContextPlaces& contexts, const Philox& random)
      : span_(span), contexts_(contexts), random_(random), own_(context_of(contexts, span.begin)),
        place_(span.begin - contexts.offsets[at(own_)]) {}

  /// The n-th draw; of length 0 where that context is too short, or is the occurrence's own.
  Span draw(std::uint64_t n) const {
    const auto count = static_cast<std::uint64_t>(contexts_.offsets.size() - 1);
    const auto other = static_cast<Index>(random_.below(static_cast<std::uint64_t>(span_.begin) * attempts + n, count));
    Span found = span_;
    found.random = true;
    found.begin = contexts_.offsets[at(other)] + place_;
    found.end = found.begin + span_.length();
    found.document = contexts_.document.empty() ? other : contexts_.document[at(other)];
    if (other == own_ || found.end > contexts_.offsets[at(other) + 1]) found.end = found.begin;
    return found;
  }

private:
  const Span& span_;
  const ContextPlaces& contexts_;
  const Philox& random_;
  Index own_, place_;
};

bool overlaps(const std::vector<Span>& ascending, const Span& span) {
  const auto behind =
      std::partition_point(ascending.begin(), ascending.end(), [&](const Span& occurrence) { return occurrence.end <= span.begin; });
  return behind != ascending.end() && behind->begin < span.end;
}

/// A random span beside each occurrence where one is found. The rank that has a drawn context says which draws hit an occurrence there;
/// most occurrences are served by the first few draws, so the others are made for the rest alone.
std::vector<Span> random_spans(const comm::Communicator& comm, const std::vector<Span>& spans, const std::vector<Span>& mine,
                               const ContextPlaces& contexts, std::uint64_t seed) {
  constexpr std::uint64_t few = 2;
  const Philox random(seed, "random spans");
  const auto count = static_cast<Index>(contexts.offsets.size()) - 1;
  const dist::Partition share{count, comm.size()};
  const Index first = contexts.offsets[at(share.begin(comm.rank()))];
  const Index last = contexts.offsets[at(share.end(comm.rank()))];
  std::vector<Index> good(spans.size()); // a bit for each draw
  const auto look_at = [&](std::uint64_t from, std::uint64_t to) {
    std::vector<Index> now(spans.size());
    for (std::size_t i = 0; i < spans.size(); ++i) {
      if (good[i] != 0) continue;
      const RandomSpans draws(spans[i], contexts, random);
      for (std::uint64_t draw = from; draw < to; ++draw) {
        const Span found = draws.draw(draw);
        const bool here = found.begin >= first && found.begin < last;
        if (here && found.length() > 0 && !overlaps(mine, found)) now[i] |= Index{1} << draw;
      }
    }
    comm::sum(comm, now);
    for (std::size_t i = 0; i < good.size(); ++i) good[i] |= now[i];
  };
  look_at(0, few);
  look_at(few, attempts);
  std::vector<Span> beside;
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (good[i] != 0)
      beside.push_back(
          RandomSpans(spans[i], contexts, random).draw(static_cast<std::uint64_t>(std::countr_zero(static_cast<std::uint64_t>(good[i])))));
  return beside;
}

} // namespace

std::vector<Span> choose_spans(const comm::Communicator& comm, const std::vector<Span>& mine, const ContextPlaces& contexts,
                               const SpanChoice& choice) {
  auto spans = drawn(comm, mine, choice);
  halve_phrases(spans, choice.seed);
  const auto beside = random_spans(comm, spans, mine, contexts, choice.seed);
  spans.insert(spans.end(), beside.begin(), beside.end());
  halve_documents(spans, contexts, choice.seed);
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return std::tuple(a.begin, a.end, a.random, a.concept_number, a.phrase) <
           std::tuple(b.begin, b.end, b.random, b.concept_number, b.phrase);
  });
  return spans;
}

} // namespace concord::subspaces
