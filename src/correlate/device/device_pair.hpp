#pragma once
/// The shares of a pair in a device's memory. Local.

#include "correlate/device/device.hpp"
#include "correlate/sums/pair_sums.hpp"

namespace concord::correlate::device {

/// Where sums with B's features lie (RowsView): the dense ones in front, each block from a multiple of 32 on.
class Columns {
public:
  Columns(const Deal& deal, int part);
  Index count() const { return static_cast<Index>(places_.size()); }
  std::size_t blocks() const { return blocks_.size(); }
  /// The first of a block's.
  Index of_block(std::size_t block) const { return blocks_[block]; }
  /// The place in the share of each column; -1: none.
  const std::vector<std::int32_t>& places() const { return places_; }
  /// Values by places, as columns.
  template <typename T>
  std::vector<T> spread(const std::vector<T>& values, T elsewhere) const {
    std::vector<T> spread(places_.size(), elsewhere);
    for (std::size_t column = 0; column < places_.size(); ++column)
      if (places_[column] >= 0) spread[column] = values[static_cast<std::size_t>(places_[column])];
    return spread;
  }

private:
  std::vector<Index> blocks_;
  std::vector<std::int32_t> places_;
};

class PostingsOnDevice {
public:
  PostingsOnDevice(Device& device, const PostingShare& share);
  /// Without names and moments.
  PostingsView view() const;

private:
  Index rows_, dense_;
  DeviceArray<Index> begin_;
  DeviceArray<Posting> postings_;
  DeviceArray<float> strips_;
  DeviceArray<double> pilots_;
};

class RowsOnDevice {
public:
  RowsOnDevice(Device& device, const RowShare& share, const Columns& columns);
  /// Without names and moments.
  RowsView view() const;

private:
  std::size_t upload_block(const RowShare::Block& block, Index rows, std::size_t begins, std::size_t entries);
  Index rows_, dense_, columns_;
  Index widest_ = 0;
  DeviceArray<Index> begin_;
  DeviceArray<RowEntry> entries_;
  DeviceArray<BlockView> blocks_;
  DeviceArray<float> strips_;
  DeviceArray<double> pilots_;
};

/// What r needs of features beside their rows, by places of A's share or by columns.
struct FactsOnDevice {
  DeviceArray<std::int32_t> names;
  DeviceArray<double> sum, inverse;
  /// Into a PostingsView or RowsView.
  template <typename View>
  void fill(View& view) const {
    view.names = names.data();
    view.sum = sum.data();
    view.inverse = inverse.data();
  }
};
FactsOnDevice facts_of_a(Device& device, const std::vector<std::int32_t>& names, const Moments& moments);
FactsOnDevice facts_of_b(Device& device, const Columns& columns, const std::vector<std::int32_t>& names, const Moments& moments);

/// Bytes of a whole share on a device.
double postings_bytes_on_device(const FeatureSource& source, const Deal& deal, int part);
double rows_bytes_on_device(const FeatureSource& source, const Deal& deal, int part);

/// What stays on a device for the next pairs: whole shares, within `memory` bytes and while the host keeps them, and room for sums.
class KeptOnDevice {
public:
  KeptOnDevice(Device& device, double memory) : device_(device), memory_(memory) {}
  double memory() const { return memory_; }
  struct Postings {
    PostingsOnDevice share;
    FactsOnDevice facts;
  };
  struct Rows {
    RowsOnDevice share;
    FactsOnDevice facts;
  };
  std::shared_ptr<const Postings> postings(const std::shared_ptr<const Whole<PostingShare>>& host, double bytes);
  std::shared_ptr<const Rows> rows(const std::shared_ptr<const Whole<RowShare>>& host, const Columns& columns, double bytes);
  /// Room for the sums of so many columns in all.
  void make_sums(std::size_t columns);
  const DeviceArray<Accumulator>& sums() const { return sums_; }
  const DeviceArray<std::uint32_t>& stored() const { return stored_; }

private:
  struct Entry {
    std::weak_ptr<const void> host;
    std::shared_ptr<const void> copy;
    double bytes;
  };
  std::shared_ptr<const void> find(const std::shared_ptr<const void>& host);
  /// Drops what the host has dropped, and then the oldest, until `bytes` have room.
  void make_room(double bytes);
  Device& device_;
  double memory_;
  std::vector<Entry> entries_; ///< the oldest first
  DeviceArray<Accumulator> sums_;
  DeviceArray<std::uint32_t> stored_;
};

} // namespace concord::correlate::device
