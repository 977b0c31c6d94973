#include "similarity/rsa/rdm_tiles.hpp"

#include "concord/core/at.hpp"

namespace concord::similarity {
std::vector<Tile> own_tiles(Index m, Index size, int rank, int ranks) {
  std::vector<Tile> tiles;
  Index number = 0;
  for (Index i0 = 0; i0 < m; i0 += size)
    for (Index j0 = i0; j0 < m; j0 += size, ++number)
      if (number % ranks == rank) tiles.push_back({i0, std::min(size, m - i0), j0, std::min(size, m - j0)});
  return tiles;
}

KeyStore::KeyStore(const std::vector<Tile>& tiles) {
  begin_.push_back(0);
  for (const auto& tile : tiles) begin_.push_back(begin_.back() + tile.entries());
  low_.resize(at(begin_.back()));
  high_.resize(at(begin_.back()));
}

double KeyStore::bytes(const std::vector<Tile>& tiles) {
  double entries = 0;
  for (const auto& tile : tiles) entries += static_cast<double>(tile.entries());
  return 6 * entries;
}

void KeyStore::put(std::size_t tile, const Key* x, const Key* y) {
  const Index begin = begin_[tile];
  for (Index e = 0; e < begin_[tile + 1] - begin; ++e) {
    const std::uint64_t both = x[e] | std::uint64_t{y[e]} << 24U;
    low_[at(begin + e)] = static_cast<std::uint32_t>(both);
    high_[at(begin + e)] = static_cast<std::uint16_t>(both >> 32U);
  }
}

void KeyStore::get(std::size_t tile, Key* x, Key* y) const {
  const Index begin = begin_[tile];
  for (Index e = 0; e < begin_[tile + 1] - begin; ++e) {
    const std::uint64_t both = low_[at(begin + e)] | std::uint64_t{high_[at(begin + e)]} << 32U;
    x[e] = static_cast<Key>(both & 0xffffffU);
    y[e] = static_cast<Key>(both >> 24U);
  }
}

Workshop::Workshop(Index tile, Index d) : rows_i(at(tile * d)), rows_j(at(tile * d)), values(at(tile * tile)), keys(at(tile * tile)) {}

void Workshop::make(const Rdm& rdm, const KeyMap& map, const Tile& tile) {
  if (prepared != tile.i0) rdm.prepare(tile.i0, tile.ni, rows_i.data());
  prepared = tile.i0;
  if (tile.i0 != tile.j0) rdm.prepare(tile.j0, tile.nj, rows_j.data());
  rdm.dissimilarities(rows_i.data(), tile.i0, tile.ni, tile.i0 == tile.j0 ? rows_i.data() : rows_j.data(), tile.j0, tile.nj, values.data());
  map.keys_of(values.data(), tile.entries(), keys.data());
}

} // namespace concord::similarity
