#pragma once
/// Items of rows of B as blocks hold them. Local.

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/dist/partition.hpp"

#include "correlate/shares/feature_share.hpp"
#include "correlate/shares/routes.hpp"
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

namespace concord::correlate {

/// Items of some of B's rows as blocks hold them (BlockRow); those of dense features go into strips.
class RowPacker {
public:
  explicit RowPacker(RowShare& share) : share_(share), packed_(share.blocks.size()) {
    for (std::size_t k = 0; k < packed_.size(); ++k) {
      const auto features = at(share.blocks[k].last - share.blocks[k].sparse);
      packed_[k].values.resize(features);
      packed_[k].places.resize(features + 1);
    }
  }

  /// What came of the last rows for a block.
  struct Packed {
    std::vector<float> words;
    std::vector<Index> ends; ///< words up to each row's end
    Index entries = 0;
    // the row at hand
    std::vector<float> values;
    std::vector<std::uint16_t> places;
    std::size_t count = 0;
  };
  const std::vector<Packed>& packed() const { return packed_; }

  /// Items of rows [first, last), in row order.
  void pack(std::span<const Item> items, Index first, Index last) {
    for (Packed& packed : packed_) {
      packed.words.clear();
      packed.ends.clear();
      packed.entries = 0;
    }
    auto item = items.begin();
    for (Index row = first; row < last; ++row) {
      for (; item != items.end() && item->row == row; ++item)
        if (item->local < share_.dense)
          share_.strips.value(item->local, row) = item->value;
        else
          add(*item);
      for (Packed& packed : packed_) end_row(packed);
    }
  }

private:
  /// Blocks are shares that differ by one at most (Deal).
  std::size_t block_of(Index local) const {
    if (packed_.size() == 1) return 0;
    return at(dist::Partition{share_.size() - share_.dense, static_cast<int>(packed_.size())}.owner(local - share_.dense));
  }
  void add(const Item& item) {
    const auto k = block_of(item.local);
    Packed& packed = packed_[k];
    require(packed.count < packed.values.size(), ExitCode::bad_data, "a row names a feature twice; make the features anew");
    packed.values[packed.count] = item.value;
    packed.places[packed.count++] = static_cast<std::uint16_t>(item.local - share_.blocks[k].sparse);
  }
  static void end_row(Packed& packed) {
    const auto before = packed.words.size();
    const auto words = at(BlockRow::words(static_cast<Index>(packed.count)));
    packed.places[packed.count] = 0; // fills the last word where their number is odd
    packed.words.resize(before + words);
    std::copy_n(packed.values.begin(), packed.count, packed.words.begin() + static_cast<Index>(before));
    if (packed.count > 0) // memcpy takes no null pointer, which an empty array has
      std::memcpy(packed.words.data() + before + packed.count, packed.places.data(), (words - packed.count) * sizeof(float));
    packed.ends.push_back(static_cast<Index>(packed.words.size()));
    packed.entries += static_cast<Index>(packed.count);
    packed.count = 0;
  }

  RowShare& share_;
  std::vector<Packed> packed_;
};

} // namespace concord::correlate
