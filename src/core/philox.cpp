#include "concord/core/philox.hpp"

#include <xxhash.h>

#include <cmath>
#include <numbers>
#include <numeric>

namespace concord {
namespace {

std::uint64_t mix(std::uint64_t x) { // finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

std::array<std::uint32_t, 2> halves(std::uint64_t x) {
  return {static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(x >> 32)};
}

double open_uniform(std::uint64_t bits) {
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

} // namespace

std::array<std::uint32_t, 4> philox_block(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

Philox::Philox(std::uint64_t seed, std::string_view purpose, std::uint64_t a, std::uint64_t b)
    : key_(halves(mix(seed + 0x9E3779B97F4A7C15ULL) ^ XXH3_64bits(purpose.data(), purpose.size()))),
      high_(mix(mix(a + 0x632BE59BD9B4E019ULL) + b)) {}

std::uint64_t Philox::bits(std::uint64_t i) const {
  const auto low = halves(i);
  const auto high = halves(high_);
  const auto block = philox_block({low[0], low[1], high[0], high[1]}, key_);
  return block[0] | (std::uint64_t{block[1]} << 32);
}

double Philox::uniform(std::uint64_t i) const {
  return open_uniform(bits(i));
}

double Philox::normal(std::uint64_t i) const {
  const auto low = halves(i);
  const auto high = halves(high_);
  const auto block = philox_block({low[0], low[1], high[0], high[1]}, key_);
  const double u = open_uniform(block[0] | (std::uint64_t{block[1]} << 32));
  const double v = open_uniform(block[2] | (std::uint64_t{block[3]} << 32));
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::uint64_t Philox::below(std::uint64_t i, std::uint64_t n) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{bits(i)} * n) >> 64);
}

IndexPermutation::IndexPermutation(Index n, const Philox& random) : n_(n), half_bits_(1), round_keys_{} {
  while ((Index{1} << (2 * half_bits_)) < n) ++half_bits_;
  for (std::size_t r = 0; r < round_keys_.size(); ++r) round_keys_[r] = random.bits(r);
}

Index IndexPermutation::operator()(Index i) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  auto x = static_cast<std::uint64_t>(i);
  do { // at most four values a step lie outside on average
    std::uint64_t left = x >> half_bits_;
    std::uint64_t right = x & mask;
    for (const std::uint64_t key : round_keys_) {
      const std::uint64_t next = left ^ (mix(right ^ key) & mask);
      left = right;
      right = next;
    }
    x = (left << half_bits_) | right;
  } while (static_cast<Index>(x) >= n_);
  return static_cast<Index>(x);
}

std::vector<Index> shuffled(Index n, const Philox& random) {
  std::vector<Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  for (Index i = n - 1; i > 0; --i) {
    const auto j = random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

} // namespace concord
