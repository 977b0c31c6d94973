#pragma once
/// The upper triangle of an RDM in tiles, shared out to ranks, and the keys of two RDMs over them.

#include "concord/similarity/rsa/rdm.hpp"

#include "similarity/rsa/key_map.hpp"

namespace concord::similarity {

/// One square of the upper triangle of an RDM.
struct Tile {
  Index i0, ni, j0, nj;
  Index entries() const { return ni * nj; }
  /// The first column of row i (in the tile) that lies above the diagonal.
  Index first(Index i) const { return i0 == j0 ? i + 1 : 0; }
};

/// Tiles of one rank, along rows so that a thread can keep the prepared rows.
std::vector<Tile> own_tiles(Index m, Index size, int rank, int ranks);

/// Keys of both RDMs over tiles, in 6 bytes an entry.
class KeyStore {
public:
  explicit KeyStore(const std::vector<Tile>& tiles);
  static double bytes(const std::vector<Tile>& tiles);
  void put(std::size_t tile, const Key* x, const Key* y);
  void get(std::size_t tile, Key* x, Key* y) const;

private:
  std::vector<Index> begin_;
  std::vector<std::uint32_t> low_;
  std::vector<std::uint16_t> high_;
};

inline constexpr int most_bits = 23; ///< of keys, two of which fit 48 bits

/// Room of one thread to make one side's tiles in.
struct Workshop {
  Workshop(Index tile, Index d);
  /// `values`, and `keys` by them.
  void make(const Rdm& rdm, const KeyMap& map, const Tile& tile);
  std::vector<double> rows_i, rows_j;
  std::vector<double> values; ///< dissimilarities in steps
  std::vector<Key> keys;
  Index prepared = -1;
};

} // namespace concord::similarity
