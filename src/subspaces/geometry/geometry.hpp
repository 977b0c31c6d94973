#pragma once
/// Matrices of concepts by concepts that are no effects: overlap of bases, logits, co-activation of members. How they lie in subspaces.h5,
/// and whether those of two models agree, by the tests that effects go through (claim_tests.hpp).

#include "concord/io/hdf5.hpp"

#include "subspaces/files/result_file.hpp"
#include "subspaces/geometry/coactivation.hpp"

namespace concord::subspaces {

struct LayerGeometry {
  std::vector<double> logits; ///< [basis_kinds, C, C]; empty: not measured
  Together coactivation;
};

/// Datasets of layers, and of the tests. Local.
void lay_out_geometry(io::File& file, const Extent& extent);
/// @param side 'a' or 'b', @param layer its place in the extent. Local.
void write_geometry(io::File& file, char side, Index layer, const LayerGeometry& geometry);

struct GeometryClaims {
  std::vector<Index> pairs; ///< of the extent's pairs of layers: those that are tested
  std::vector<Index> groups;
  const std::vector<double>& together; ///< covariate of all tests
  Index permutations = 9999;
  std::uint64_t seed = 0;
};
/// Reads the matrices of all layers on rank 0 (`file` is looked at there alone), tests them, tests spread over ranks, and writes.
/// Collective over `comm`. @throws Error stopped, agreed.
void test_geometry(const comm::Communicator& comm, io::File* file, const Extent& extent, const GeometryClaims& claims);

/// Bytes of the datasets.
double geometry_bytes(const Extent& extent);

} // namespace concord::subspaces
