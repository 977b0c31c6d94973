#pragma once
/// All correlations of a pair of layers in a file of their own (docs/formats.md). Collective over `comm`.

#include "concord/core/run/provenance.hpp"

#include "correlate/pair_correlator.hpp"
#include <filesystem>

namespace concord::correlate {

/// Writes r of every feature of A with every feature of B, or of those alone that are active together, sparse and with their counts. Each
/// rank writes the rows of its features of A; the correlator has the pair open, on a grid of one column. `key` names what the file is made
/// of. @throws Error io.
void write_all_correlations(const comm::Communicator& comm, PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b,
                            const StageKey& key, const std::filesystem::path& path);
void write_coactive_correlations(const comm::Communicator& comm, PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b,
                                 const StageKey& key, const std::filesystem::path& path);

} // namespace concord::correlate
