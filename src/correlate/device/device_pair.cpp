#include "correlate/device/device_pair.hpp"

#include "concord/core/at.hpp"

#include <limits>

namespace concord::correlate::device {
namespace {

static_assert(strip_a == PostingsView::strip && strip_b == RowsView::strip);

DeviceArray<float> upload_strips(Device& device, const Share& share, Index width) {
  DeviceArray<float> strips(device, at(Strips::size(share.rows, share.dense, width)));
  const auto of_one = at(share.rows * width); // on the host there may be room for more rows between them
  for (Index strip = 0; strip < share.strips.count(); ++strip)
    strips.upload(std::span(share.strips.at(strip, 0), of_one), at(strip) * of_one);
  return strips;
}

double strips_bytes(const FeatureSource& source, Index dense, Index width) {
  return sizeof(float) * static_cast<double>(Strips::size(source.rows(), dense, width));
}

/// Active entries of a part's sparse features.
double sparse_entries(const FeatureSource& source, const Deal& deal, int part) {
  double entries = 0;
  const auto& features = deal.features(part);
  for (std::size_t j = at(deal.dense(part)); j < features.size(); ++j)
    entries += static_cast<double>(source.totals().count[at(features[j])]);
  return entries;
}

} // namespace

Columns::Columns(const Deal& deal, int part) {
  const auto begin_at_a_warp = [&] { places_.resize((places_.size() + warp_lanes - 1) / warp_lanes * warp_lanes, -1); };
  std::int32_t place = 0;
  const auto append = [&](Index end) {
    for (; place < end; ++place) places_.push_back(place);
    begin_at_a_warp();
  };
  append(deal.dense(part));
  for (const Index end : deal.block_ends(part)) {
    blocks_.push_back(count());
    append(end);
  }
}

PostingsOnDevice::PostingsOnDevice(Device& device, const PostingShare& share)
    : rows_(share.rows), dense_(share.dense), begin_(device, share.begin), postings_(device, share.postings),
      strips_(upload_strips(device, share, strip_a)), pilots_(device, share.pilots) {}

PostingsView PostingsOnDevice::view() const {
  return {rows_, dense_, begin_.data(), postings_.data(), strips_.data(), pilots_.data(), nullptr, nullptr, nullptr};
}

RowsOnDevice::RowsOnDevice(Device& device, const RowShare& share, const Columns& columns)
    : rows_(share.rows), dense_(share.dense), columns_(columns.count()), strips_(upload_strips(device, share, strip_b)),
      pilots_(device, share.pilots) {
  std::size_t entries = 0;
  for (const auto& block : share.blocks)
    for (Index t = 0; t < share.rows; ++t) entries += block.row(t).count;
  begin_ = DeviceArray<Index>(device, share.blocks.size() * at(share.rows + 1));
  entries_ = DeviceArray<RowEntry>(device, entries);
  std::vector<BlockView> views;
  std::size_t begins = 0;
  entries = 0;
  for (const auto& block : share.blocks) {
    views.push_back({begin_.data() + begins, entries_.data() + entries, block.last - block.sparse, columns.of_block(views.size())});
    widest_ = std::max(widest_, views.back().size);
    entries = upload_block(block, share.rows, begins, entries);
    begins += at(share.rows + 1);
  }
  blocks_ = DeviceArray<BlockView>(device, views);
}

/// Rows' begins and entries to the places from `begins` and `entries` on; returns the place behind the last entry.
std::size_t RowsOnDevice::upload_block(const RowShare::Block& block, Index rows, std::size_t begins, std::size_t entries) {
  constexpr std::size_t at_once = 1 << 20;
  std::vector<Index> begin{0};
  std::vector<RowEntry> unpacked;
  const auto upload = [&] {
    entries_.upload(unpacked, entries);
    entries += unpacked.size();
    unpacked.clear();
  };
  for (Index t = 0; t < rows; ++t) {
    const BlockRow row = block.row(t);
    for (std::uint32_t e = 0; e < row.count; ++e) unpacked.push_back({row.places()[e], row.values[e]});
    begin.push_back(begin.back() + row.count);
    if (unpacked.size() >= at_once) upload();
  }
  upload();
  begin_.upload(begin, begins);
  return entries;
}

RowsView RowsOnDevice::view() const {
  return {rows_,   dense_,  blocks_.data(), static_cast<Index>(blocks_.size()), widest_, strips_.data(), pilots_.data(), columns_,
          nullptr, nullptr, nullptr};
}

FactsOnDevice facts_of_a(Device& device, const std::vector<std::int32_t>& names, const Moments& moments) {
  return {{device, names}, {device, moments.sum}, {device, moments.inverse}};
}

FactsOnDevice facts_of_b(Device& device, const Columns& columns, const std::vector<std::int32_t>& names, const Moments& moments) {
  return {{device, columns.spread(names, std::int32_t{-1})},
          {device, columns.spread(moments.sum, 0.0)},
          {device, columns.spread(moments.inverse, std::numeric_limits<double>::quiet_NaN())}};
}

double postings_bytes_on_device(const FeatureSource& source, const Deal& deal, int part) {
  return 8 * sparse_entries(source, deal, part) + strips_bytes(source, deal.dense(part), strip_a) +
         28.0 * static_cast<double>(deal.features(part).size());
}

double rows_bytes_on_device(const FeatureSource& source, const Deal& deal, int part) {
  const auto begins = static_cast<double>(deal.block_ends(part).size()) * static_cast<double>(source.rows() + 1);
  return 8 * sparse_entries(source, deal, part) + 8 * begins + strips_bytes(source, deal.dense(part), strip_b) +
         20.0 * static_cast<double>(deal.features(part).size());
}

std::shared_ptr<const void> KeptOnDevice::find(const std::shared_ptr<const void>& host) {
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.host.lock() == host; });
  if (entry == entries_.end()) return nullptr;
  std::rotate(entry, entry + 1, entries_.end());
  return entries_.back().copy;
}

void KeptOnDevice::make_room(double bytes) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.host.expired(); });
  for (const Entry& entry : entries_) bytes += entry.bytes;
  while (bytes > memory_ && !entries_.empty()) {
    bytes -= entries_.front().bytes;
    entries_.erase(entries_.begin());
  }
}

void KeptOnDevice::make_sums(std::size_t columns) {
  if (columns <= sums_.size()) return;
  sums_ = {}; // first, so that both need no room at once
  sums_ = DeviceArray<Accumulator>(device_, columns);
  stored_ = DeviceArray<std::uint32_t>(device_, columns / warp_lanes);
}

std::shared_ptr<const KeptOnDevice::Postings> KeptOnDevice::postings(const std::shared_ptr<const Whole<PostingShare>>& host, double bytes) {
  auto copy = std::static_pointer_cast<const Postings>(find(host));
  if (copy) return copy;
  make_room(bytes);
  copy = std::make_shared<Postings>(
      Postings{PostingsOnDevice(device_, host->share), facts_of_a(device_, host->share.features, host->moments)});
  entries_.push_back({host, copy, bytes});
  return copy;
}

std::shared_ptr<const KeptOnDevice::Rows> KeptOnDevice::rows(const std::shared_ptr<const Whole<RowShare>>& host, const Columns& columns,
                                                             double bytes) {
  auto copy = std::static_pointer_cast<const Rows>(find(host));
  if (copy) return copy;
  make_room(bytes);
  copy = std::make_shared<Rows>(
      Rows{RowsOnDevice(device_, host->share, columns), facts_of_b(device_, columns, host->share.features, host->moments)});
  entries_.push_back({host, copy, bytes});
  return copy;
}

} // namespace concord::correlate::device
