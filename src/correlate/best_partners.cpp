#include "concord/correlate/best_partners.hpp"

#include "concord/comm/collectives.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// Moves the better half in front by counting for each how many are larger: a sort would wait for a wrong guess at every other step. False
/// where that does not tell them apart, or they are too many to count, or not some fours.
bool keep_better_half(std::span<Partner> partners) {
  constexpr std::size_t most = 64;
  const std::size_t count = partners.size();
  if (count > most || count % 4 != 0) return false;
  std::array<double, most> r;
  for (std::size_t i = 0; i < count; ++i) r[i] = partners[i].r;
  std::array<Index, most> larger{};
  for (std::size_t j = 0; j < count; j += 4) {
    const double r0 = r[j], r1 = r[j + 1], r2 = r[j + 2], r3 = r[j + 3];
#pragma omp simd
    for (std::size_t i = 0; i < count; ++i) larger[i] += Index{r0 > r[i]} + Index{r1 > r[i]} + Index{r2 > r[i]} + Index{r3 > r[i]};
  }
  std::array<std::uint8_t, most> kept;
  std::size_t all = 0;
  for (std::size_t i = 0; i < count; ++i) {
    kept[i] = 2 * at(larger[i]) < count ? 1 : 0;
    all += kept[i];
  }
  if (2 * all != count) return false; // equal ones on the border
  std::size_t place = 0;
  for (std::size_t i = 0; i < count; ++i) {
    partners[place] = partners[i];
    place += kept[i];
  }
  return true;
}

/// A candidate on its way to the rank that merges its feature.
struct Offer {
  std::int32_t of;
  Partner partner;
};

} // namespace

BestTable::BestTable(Index features, Index places)
    : places_(places), filled_(at(features), 0), floors_(at(features), -std::numeric_limits<double>::infinity()),
      partners_(at(features * 2 * places)) {}

void BestTable::drop_worse(Index feature) {
  const std::span<Partner> partners{partners_.data() + first(feature), at(2 * places_)};
  if (!keep_better_half(partners)) std::nth_element(partners.begin(), partners.begin() + places_ - 1, partners.end(), better);
  filled_[at(feature)] = static_cast<std::int32_t>(places_);
  double least = std::numeric_limits<double>::infinity();
  for (const Partner& partner : partners.first(at(places_))) least = std::min(least, partner.r);
  floors_[at(feature)] = least;
}

void BestTable::best(Index feature, std::vector<Partner>& partners) const {
  const auto begin = partners_.begin() + static_cast<Index>(first(feature));
  partners.assign(begin, begin + filled_[at(feature)]);
  std::sort(partners.begin(), partners.end(), better);
  partners.resize(std::min(partners.size(), at(places_)));
}

void BestTable::merge(const BestTable& other, Index of_other, Index feature) {
  for (Index i = 0; i < other.filled_[at(of_other)]; ++i) {
    const Partner& partner = other.partners_[other.first(of_other) + at(i)];
    if (partner.r >= floor(feature)) offer(feature, partner);
  }
}

void BestTable::begin_anew(double floor) {
  filled_.front() = 0;
  floors_.front() = floor;
}

namespace {

/// Features [first, last) of a rank's table, and their places there in ascending order of features.
struct Slab {
  Index first, last;
  std::span<const std::pair<std::int32_t, std::int32_t>> places; ///< feature, place
};

/// The partners of a slab's features, best first.
std::vector<Offer> offers_of(const BestTable& table, const Slab& slab) {
  std::vector<Offer> offers;
  std::vector<Partner> partners;
  for (const auto& [feature, place] : slab.places) {
    table.best(place, partners);
    for (const Partner& partner : partners) offers.push_back({feature, partner});
  }
  return offers;
}

/// The best of all ranks' partners of a slab's features f that this rank merges: f mod ranks is its number.
std::vector<Offer> merged_here(const comm::Communicator& comm, const BestTable& mine, const Slab& slab, Index places) {
  const auto ranks = static_cast<Index>(comm.size());
  std::vector<Offer> offers;
  std::vector<Index> begin, count;
  for (Index rank = 0; rank < ranks; ++rank) {
    begin.push_back(static_cast<Index>(offers.size()));
    for (const auto& [feature, place] : slab.places)
      if (feature % ranks == rank)
        for (const Partner& partner : mine.candidates(place)) offers.push_back({feature, partner});
    count.push_back(static_cast<Index>(offers.size()) - begin.back());
  }
  std::vector<std::pair<std::int32_t, std::int32_t>> here;
  for (Index f = slab.first; f < slab.last; ++f)
    if (f % ranks == comm.rank()) here.emplace_back(f, static_cast<std::int32_t>((f - slab.first) / ranks));
  BestTable table((slab.last - slab.first + ranks - 1) / ranks, places);
  for (const Offer& offer : comm::exchange(comm, offers, begin, count)) table.offer((offer.of - slab.first) / ranks, offer.partner);
  return offers_of(table, {slab.first, slab.last, here});
}

} // namespace

BestPartners merged(const comm::Communicator& comm, const BestTable& mine, const std::vector<std::int32_t>& names, Index features,
                    Index places, Finders finders) {
  std::vector<std::pair<std::int32_t, std::int32_t>> order;
  for (std::size_t i = 0; i < names.size(); ++i) order.emplace_back(names[i], static_cast<std::int32_t>(i));
  std::sort(order.begin(), order.end());
  const auto of_root = comm.rank() == 0 ? at(features * places) : 0;
  BestPartners result{places, std::vector<std::int32_t>(of_root, -1), std::vector<double>(of_root, 0.0), std::vector<Index>(of_root, 0)};
  constexpr Index slab_features = 1 << 13; // some MB of offers, whose memory the next slab uses again
  auto next = order.begin();
  for (Index first = 0; first < features; first += slab_features) {
    const Index last = std::min(features, first + slab_features);
    const auto end = std::partition_point(next, order.end(), [&](const auto& place) { return place.first < last; });
    const Slab slab{first, last, {next, end}};
    next = end;
    auto best = finders == Finders::several ? merged_here(comm, mine, slab, places) : offers_of(mine, slab);
    if (comm.size() > 1) best = comm::gather(comm, best);
    if (comm.rank() != 0) continue;
    std::int32_t of = -1;
    std::size_t place = 0;
    for (const Offer& offer : best) {
      place = offer.of == of ? place + 1 : at(offer.of * places);
      of = offer.of;
      result.partner[place] = offer.partner.feature;
      result.r[place] = offer.partner.r;
      result.cofire[place] = offer.partner.cofire;
    }
  }
  if (comm.rank() != 0) return {};
  return result;
}

std::vector<double> merged_largest(const comm::Communicator& comm, const std::vector<double>& mine, const std::vector<std::int32_t>& names,
                                   Index features) {
  const auto all_names = comm::gather(comm, names);
  const auto all = comm::gather(comm, mine);
  std::vector<double> largest(comm.rank() == 0 ? at(features) : 0, 0.0);
  for (std::size_t i = 0; i < all.size(); ++i) largest[at(all_names[i])] = std::max(largest[at(all_names[i])], all[i]);
  return largest;
}

} // namespace concord::correlate
