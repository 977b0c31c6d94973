#include "concord/core/at.hpp"

#include "correlate/device/device_sweep.hpp"

namespace concord::correlate::device {
namespace {

/// Partners of columns, for one shift after another; the null needs the best one alone.
class ColumnTables {
public:
  ColumnTables(Device& device, const Columns& columns, std::size_t shifts, Index best) : device_(device), columns_(columns) {
    for (std::size_t s = 0; s < shifts; ++s) {
      places_.push_back(s == 0 ? best : 1);
      const std::vector<Partner> none(at(columns_.count() * places_.back()), {no_r, no_feature, 0});
      tables_.emplace_back(device, none);
    }
  }
  Index places(Index shift) const { return places_[at(shift)]; }
  void take(const PairView& pair, Index shift) { device_.launch(BestOfColumns{pair, places(shift), tables_[at(shift)].data()}); }
  /// Calls `found(place in the share, partner)`.
  template <typename Take>
  void for_each(Index shift, Take&& found) const {
    const auto partners = tables_[at(shift)].download(tables_[at(shift)].size());
    for (std::size_t i = 0; i < partners.size(); ++i)
      if (partners[i].r > no_r) found(columns_.places()[i / at(places(shift))], partners[i]);
  }

private:
  Device& device_;
  const Columns& columns_;
  std::vector<Index> places_;
  std::vector<DeviceArray<Partner>> tables_;
};

} // namespace

/// As Sweep's.
void DeviceSweep::take_moments() {
  if (rows_.whole_a || have_moments_) return;
  const Wanted nothing(names_a_.size(), 0);
  run(
      {0}, [](const PairView&, const std::vector<Index>&, Index) {}, &nothing);
}

void DeviceSweep::find_best(const std::vector<Index>& shifts, Index best, Found& found) {
  if (shifts.front() != 0) take_moments();
  ColumnTables of_b(device_, columns_, shifts.size(), best);
  run(shifts, [&](const PairView& pair, const std::vector<Index>& features, Index shift) {
    const Index places = of_b.places(shift);
    const DeviceArray<Partner> of_rows(device_, features.size() * at(places));
    device_.launch(BestOfRows{pair, places, of_rows.data()});
    of_b.take(pair, shift);
    const auto partners = of_rows.download(of_rows.size());
    for (std::size_t i = 0; i < partners.size(); ++i) {
      const Index feature = features[i / at(places)];
      if (!(partners[i].r > no_r)) continue;
      if (shift == 0)
        found.best_of_a.offer(feature, partners[i]);
      else
        found.largest_a[at((shift - 1) * size_a()) + at(feature)] = std::max(0.0, partners[i].r);
    }
  });
  of_b.for_each(0, [&](Index place, const Partner& partner) { found.best_of_b.front().offer(place, partner); });
  for (Index shift = 1; shift < static_cast<Index>(shifts.size()); ++shift)
    of_b.for_each(shift, [&](Index place, const Partner& partner) {
      found.largest_b.front()[at((shift - 1) * size_b()) + at(place)] = std::max(0.0, partner.r);
    });
}

/// Shift after shift, since each has features of its own.
std::vector<double> DeviceSweep::find_largest(const std::vector<Index>& shifts, const std::vector<Wanted>& wanted) {
  take_moments();
  std::vector<double> largest(shifts.size() * names_a_.size(), 0.0);
  for (std::size_t s = 0; s < shifts.size(); ++s)
    run(
        {shifts[s]},
        [&](const PairView& pair, const std::vector<Index>& features, Index) {
          const DeviceArray<Partner> best(device_, features.size());
          device_.launch(BestOfRows{pair, 1, best.data()});
          const auto partners = best.download(best.size());
          for (std::size_t i = 0; i < partners.size(); ++i) largest[s * names_a_.size() + at(features[i])] = std::max(0.0, partners[i].r);
        },
        &wanted[s]);
  return largest;
}

std::vector<Exceeding> DeviceSweep::find_exceeding(const std::vector<double>& limit_a, const std::vector<double>& limit_b,
                                                   const Wanted& wanted) {
  const DeviceArray<double> of_a(device_, limit_a);
  const DeviceArray<double> of_b(device_, columns_.spread(limit_b, std::numeric_limits<double>::infinity()));
  const std::vector<std::uint64_t> zero{0};
  std::vector<Exceeding> all;
  run(
      {0},
      [&](const PairView& pair, const std::vector<Index>&, Index) {
        DeviceArray<std::uint64_t> count(device_, zero);
        device_.launch(FindExceeding{pair, of_a.data(), of_b.data(), nullptr, count.data()});
        const auto found = count.download(1).front();
        if (found == 0) return;
        count.upload(zero);
        const DeviceArray<Exceeding> here(device_, found);
        device_.launch(FindExceeding{pair, of_a.data(), of_b.data(), here.data(), count.data()});
        const auto exceeding = here.download(found);
        all.insert(all.end(), exceeding.begin(), exceeding.end());
      },
      &wanted);
  return all;
}

void DeviceSweep::for_each_sums(const std::function<void(Index, const Accumulator*)>& visit) {
  const auto columns = at(columns_.count());
  const auto& places = columns_.places();
  std::vector<Accumulator> sums(names_b_.size());
  run({0}, [&](const PairView& pair, const std::vector<Index>& features, Index) {
    std::vector<Accumulator> there(features.size() * columns);
    std::vector<std::uint32_t> stored(features.size() * columns / warp_lanes);
    device_.download(there.data(), pair.chunk.sums, there.size() * sizeof(Accumulator));
    device_.download(stored.data(), pair.chunk.stored, stored.size() * sizeof(std::uint32_t));
    for (std::size_t i = 0; i < features.size(); ++i) {
      std::fill(sums.begin(), sums.end(), Accumulator{0, 0});
      for (std::size_t column = 0; column < columns; ++column) {
        const auto j = i * columns + column;
        if ((stored[j / warp_lanes] >> (j % warp_lanes) & 1U) != 0) sums[at(places[column])] = there[j];
      }
      visit(features[i], sums.data());
    }
  });
}

} // namespace concord::correlate::device
