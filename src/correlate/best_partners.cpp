#include "concord/correlate/best_partners.hpp"

#include "concord/comm/collectives.hpp"

#include <limits>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

bool better(const Partner& x, const Partner& y) {
  return x.r > y.r || (x.r == y.r && x.feature < y.feature);
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
  Partner* first = partners_.data() + feature * 2 * places_;
  std::nth_element(first, first + places_ - 1, first + 2 * places_, better);
  filled_[at(feature)] = static_cast<std::int32_t>(places_);
  floors_[at(feature)] = first[places_ - 1].r;
}

std::span<const Partner> BestTable::best(Index feature) {
  Partner* first = partners_.data() + feature * 2 * places_;
  auto& filled = filled_[at(feature)];
  std::sort(first, first + filled, better);
  filled = static_cast<std::int32_t>(std::min<Index>(filled, places_));
  return {first, at(filled)};
}

void BestTable::merge(const BestTable& other, Index begin, Index end) {
  for (Index feature = begin; feature < end; ++feature)
    for (Index i = 0; i < other.filled_[at(feature)]; ++i) offer(feature, other.partners_[at(feature * 2 * places_ + i)]);
}

BestPartners merged(const comm::Communicator& comm, BestTable& mine, const std::vector<std::int32_t>& names, Index features, Index places) {
  std::vector<Offer> offers;
  std::vector<Index> begin, count;
  for (int rank = 0; rank < comm.size(); ++rank) { // feature f is merged by rank f mod ranks
    begin.push_back(static_cast<Index>(offers.size()));
    for (std::size_t i = 0; i < names.size(); ++i)
      if (names[i] % comm.size() == rank)
        for (const Partner& partner : mine.best(static_cast<Index>(i))) offers.push_back({names[i], partner});
    count.push_back(static_cast<Index>(offers.size()) - begin.back());
  }
  const Index here = (features - comm.rank() + comm.size() - 1) / comm.size();
  BestTable table(here, places);
  for (const Offer& offer : comm::exchange(comm, offers, begin, count)) table.offer(offer.of / comm.size(), offer.partner);
  std::vector<Offer> best;
  for (Index i = 0; i < here; ++i)
    for (const Partner& partner : table.best(i)) best.push_back({static_cast<std::int32_t>(i * comm.size() + comm.rank()), partner});
  const auto all = comm::gather(comm, best);
  if (comm.rank() != 0) return {};
  BestPartners result{places, std::vector<std::int32_t>(at(features * places), -1), std::vector<double>(at(features * places), 0.0),
                      std::vector<Index>(at(features * places), 0)};
  std::int32_t of = -1;
  std::size_t place = 0;
  for (const Offer& offer : all) {
    place = offer.of == of ? place + 1 : at(offer.of * places);
    of = offer.of;
    result.partner[place] = offer.partner.feature;
    result.r[place] = offer.partner.r;
    result.cofire[place] = offer.partner.cofire;
  }
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
