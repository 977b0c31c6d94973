#pragma once
/// Keys of dissimilarities: whole numbers in the same order, few enough to be counted one by one.

#include "concord/core/index.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace concord::similarity {

using Key = std::uint32_t;

/// Where the entries are few, each different value has a key of its own. Else keys are given out by a sample: cells of the binary logarithm
/// of the distance from an origin (0, or the median where all entries are near it), each divided into as many equal parts as entries fall
/// there. So small distances are told apart as well as large ones, and entries crowded about one value as well as spread ones.
class KeyMap {
public:
  /// @param sample    dissimilarities in steps (rdm.hpp), of some or all entries
  /// @param complete  these are all that will be asked for
  /// @param bits      there are at most 2^bits keys
  KeyMap(std::vector<double> sample, bool complete, int bits);
  /// Below keys().
  Key operator()(double value) const { return edges_.empty() ? by_cell(value) : by_edge(value); }
  void keys_of(const double* values, Index count, Key* out) const;
  Index keys() const { return keys_; }
  /// A finer order than that of keys, to a relative 2^-24 of the distance from the origin. @param key the value's
  std::uint32_t fine(double value, Key key) const {
    if (!edges_.empty()) return key;
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(from_origin(value)));
    return (bits >> 31U) != 0 ? ~bits : bits | 0x80000000U;
  }
  /// Whole numbers proportional to value - centre, of which the middle 80 % of the sample span some 2^22: float32 holds them whole.
  double centred(double value) const { return std::nearbyint((value - centre_) * per_step_); }
  /// Share of the sample's ties, sum (t^3 - t) / (n^3 - n), that different values make by sharing a key.
  double lost() const { return lost_; }
  /// Why the order of the entries says nothing, else empty.
  const std::string& reason() const { return reason_; }

private:
  struct Cell {
    Key base = 0;
    std::uint32_t shift = 0;
  };
  static constexpr int low_bits = 44;                    ///< of a double's mantissa, below the 8 that belong to a cell
  static constexpr std::uint64_t first = 1023U << 8U;    ///< cell of 1 step
  static constexpr std::size_t cells_a_side = 46U << 8U; ///< up to 2^46 steps
  static constexpr std::uint64_t low_mask = (std::uint64_t{1} << low_bits) - 1;
  static constexpr double rounding = 2; ///< steps that make no difference

  double from_origin(double value) const {
    const double x = value - origin_;
    return std::abs(x) <= rounding ? 0.0 : x;
  }
  static std::size_t cell_of(std::uint64_t size_bits, bool below) {
    const auto place = static_cast<std::size_t>((size_bits >> low_bits) - first);
    return below ? cells_a_side - 1 - place : cells_a_side + place;
  }
  Key by_cell(double value) const {
    const double x = from_origin(value);
    const auto bits = std::bit_cast<std::uint64_t>(std::abs(x) + 1);
    const bool below = x < 0;
    const Cell cell = cells_[cell_of(bits, below)];
    return cell.base + static_cast<Key>(((bits ^ (below ? low_mask : 0)) & low_mask) >> cell.shift);
  }
  std::size_t part_of(double value) const;
  Key by_edge(double value) const;
  void make_edges(const std::vector<double>& sorted);
  void make_cells(const std::vector<double>& sorted, int bits);
  double share_of_ties_made(const std::vector<double>& sorted) const;

  double origin_ = 0, centre_ = 0, per_step_ = 1;
  double lost_ = 0;
  Index keys_ = 0;
  std::vector<double> edges_; ///< a key's values lie below its edge
  std::vector<Key> first_;    ///< of each of equal parts of the range, the key of what lies below it; one more
  double part_ = 0;           ///< parts a step
  std::vector<Cell> cells_;
  std::string reason_;
};

} // namespace concord::similarity
