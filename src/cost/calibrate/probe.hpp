#pragma once
// Kernels of the program that are timed, and the constants that follow from the times. Local.

#include "concord/cost/phase.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace concord::cost {

struct Probe {
  std::string name;
  std::vector<Amount> amounts; ///< what one run does
  std::function<void()> run;
};

/// Probes that tell the rates of a few kinds of work together; they may do other kinds beside them, whose rates earlier families told.
struct Family {
  std::string name;
  std::vector<Work> unknown;
  std::function<std::vector<Probe>()> make; ///< takes memory, which goes with the probes
};

/// In an order in which each needs earlier ones alone. @param work  a folder of this rank's own @param part  of the sizes of matrices
std::vector<Family> all_families(const std::filesystem::path& work, double part);

/// `part` of a size; `least` at least.
inline Index part_of(Index size, double part, Index least = 16) {
  return std::max(least, static_cast<Index>(part * static_cast<double>(size)));
}

// Families, by what they are of.
void add_forward_families(const std::filesystem::path& work, double part, std::vector<Family>& families);
void add_training_families(const std::filesystem::path& work, double part, std::vector<Family>& families);
void add_encode_families(const std::filesystem::path& work, double part, std::vector<Family>& families);
void add_correlate_families(const std::filesystem::path& work, double part, std::vector<Family>& families);
void add_compare_families(double part, std::vector<Family>& families);

/// Whether its rate depends on a size.
bool is_sized(Work work);

/// Seconds of the amounts by the machine's rates alone, those of `but` left out.
double seconds_of(std::span<const Amount> amounts, const Machine& machine, std::span<const Work> but = {});

/// Sets `machine`'s rates alone of the unknown kinds: least squares of the relative errors, no rate below 0. A kind that is too small to
/// be seen is taken to make up a hundredth of the probe that has most of it.
void fit(const std::vector<Probe>& probes, std::span<const double> seconds, std::span<const Work> unknown, Machine& machine);

/// x >= 0 that makes |matrix x - right| least; few columns. Row-major.
std::vector<double> least_squares(const std::vector<std::vector<double>>& columns, std::span<const double> right);

/// Numbers that look random, quickly: normals of Philox, repeated after 2^16 - 15 of them.
std::vector<float> some_normals(Index count, std::uint64_t seed);

} // namespace concord::cost
