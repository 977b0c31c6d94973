#pragma once
// What similarity.h5 holds of one layer pair, as one row of numbers that travels from a group of ranks to the writer. Local.

#include "concord/io/hdf5.hpp"
#include "concord/similarity/compare_spaces.hpp"

namespace concord::similarity {

/// A dataset of the file and how many numbers of it a pair has; 0: one, and the dataset has one dimension.
struct PairField {
  std::string name;
  Index width = 0;
  Index count() const { return width == 0 ? 1 : width; }
};
std::vector<PairField> pair_fields(const SpaceOptions& options);

/// The numbers of all fields in their order.
std::vector<double> pair_record(Index matched, double mean_r, const SpaceComparison& comparison, const SpaceOptions& options);

void write_pair_record(io::File& file, const std::vector<PairField>& fields, Index pair, const double* record);

} // namespace concord::similarity
