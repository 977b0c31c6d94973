#pragma once
/// Stage `compare`: matches + decoders -> similarity.h5, SVCCA and RSA with nulls for every layer pair. Collective over
/// `comm`.

#include "concord/similarity/rsa.hpp"
#include "concord/similarity/svcca.hpp"

#include <filesystem>
#include <string>

namespace concord::similarity {

struct CompareSettings {
  SvccaOptions svcca;
  RsaOptions rsa;
  Index permutations = 199;
  Index min_matches = 10; ///< fewer matched features leave a pair undefined
  std::uint64_t seed = 0;
};

struct CompareOptions {
  std::filesystem::path matches; ///< matches.h5
  std::string saes_a;            ///< as EncodeOptions::saes
  std::string saes_b;
  CompareSettings settings;
  std::filesystem::path out;
  bool force = false;
};

/// Compares decoder rows of the matched features pair by pair; committed after each.
/// @throws Error input_missing, bad_data, config, io, stopped; agreed.
void compare(const comm::Communicator& comm, const CompareOptions& options);

/// Compares two matrices on disk (.npy or FILE.h5:/dataset) and writes the record as JSON. Collective.
void compare_matrices(const comm::Communicator& comm, const std::string& x, const std::string& y, const CompareSettings& settings,
                      const std::filesystem::path& json);

} // namespace concord::similarity
