#include "correlate/sums/best_partners.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

namespace concord::correlate {
namespace {

/// The most values that are told apart by counting for each how many are larger: a sort would wait for a wrong guess at every other step.
constexpr std::size_t most_counted = 64;
using Counted = std::array<double, most_counted>;

/// For each of `count` values, some fours, how many are larger.
std::array<Index, most_counted> count_larger(const Counted& r, std::size_t count) {
  std::array<Index, most_counted> larger{};
  for (std::size_t j = 0; j < count; j += 4) {
    const double r0 = r[j], r1 = r[j + 1], r2 = r[j + 2], r3 = r[j + 3];
#pragma omp simd
    for (std::size_t i = 0; i < count; ++i) larger[i] += Index{r0 > r[i]} + Index{r1 > r[i]} + Index{r2 > r[i]} + Index{r3 > r[i]};
  }
  return larger;
}

/// Moves the better half in front. False where their r do not tell them apart, or they are too many to count, or not some fours.
bool keep_better_half(std::span<Partner> partners) {
  const std::size_t count = partners.size();
  if (count > most_counted || count % 4 != 0) return false;
  Counted r;
  for (std::size_t i = 0; i < count; ++i) r[i] = partners[i].r;
  const auto larger = count_larger(r, count);
  std::array<std::uint8_t, most_counted> kept;
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

/// The best of all, best first, into as many places as there are. False as above.
bool order_by_count(std::span<const Partner> all, std::span<Partner> best) {
  if (all.size() > most_counted) return false;
  Counted r;
  for (std::size_t i = 0; i < all.size(); ++i) r[i] = all[i].r;
  const std::size_t count = (all.size() + 3) / 4 * 4;
  std::fill(r.begin() + static_cast<Index>(all.size()), r.begin() + static_cast<Index>(count), -std::numeric_limits<double>::infinity());
  const auto larger = count_larger(r, count);
  std::size_t placed = 0;
  std::size_t places = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto place = at(larger[i]);
    if (place >= best.size()) continue;
    best[place] = all[i];
    ++placed;
    places += place;
  }
  return placed == best.size() && 2 * places + placed == placed * placed; // 0, 1, 2 ...; of equal ones the sum is smaller
}

/// As an object, which unlike a pointer to a function is compiled into what calls it.
struct Better {
  bool operator()(const Partner& x, const Partner& y) const { return better(x, y); }
};

/// A candidate on its way to the rank that merges its feature.
struct Offer {
  std::int32_t of;
  Partner partner;
};

} // namespace

double last_of_best(std::span<const double> r, Index places) {
  constexpr double least = -std::numeric_limits<double>::infinity();
  constexpr auto bins = most_counted;
  if (r.size() < bins || at(2 * places) > bins) return least;
  Counted largest;
  std::copy_n(r.begin(), bins, largest.begin());
  std::size_t i = bins;
  for (; i + bins <= r.size(); i += bins)
#pragma omp simd
    for (std::size_t bin = 0; bin < bins; ++bin) largest[bin] = std::max(largest[bin], r[i + bin]);
  for (; i < r.size(); ++i) largest[i % bins] = std::max(largest[i % bins], r[i]);
  const auto larger = count_larger(largest, bins);
  double last = std::numeric_limits<double>::infinity();
  for (std::size_t bin = 0; bin < bins; ++bin) last = std::min(last, larger[bin] < places ? largest[bin] : last);
  return last;
}

BestTable::BestTable(Index features, Index places)
    : places_(places), filled_(at(features), 0), floors_(at(features), -std::numeric_limits<double>::infinity()),
      partners_(at(features * 2 * places)) {}

void BestTable::drop_worse(Index feature) {
  const std::span<Partner> partners{partners_.data() + first(feature), at(2 * places_)};
  if (!keep_better_half(partners)) std::nth_element(partners.begin(), partners.begin() + places_ - 1, partners.end(), Better());
  filled_[at(feature)] = static_cast<std::int32_t>(places_);
  double least = std::numeric_limits<double>::infinity();
  for (const Partner& partner : partners.first(at(places_))) least = std::min(least, partner.r);
  floors_[at(feature)] = least;
}

void BestTable::best(Index feature, std::vector<Partner>& partners) const {
  const auto all = candidates(feature);
  partners.resize(std::min(all.size(), at(places_)));
  if (order_by_count(all, partners)) return;
  partners.assign(all.begin(), all.end());
  std::sort(partners.begin(), partners.end(), Better());
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
  offers.reserve(slab.places.size() * at(table.places()));
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
