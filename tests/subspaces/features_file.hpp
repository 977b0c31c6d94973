#pragma once
// A features.h5 of one layer, for tests that read its codes.
#include "concord/comm/agree.hpp"
#include "concord/io/hdf5.hpp"

#include "support/support.hpp"
#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace concord::test {

struct Codes {
  std::vector<Index> offsets{0}; ///< of contexts, where the test has any
  std::vector<std::uint8_t> row_kind;
  std::vector<Index> indptr{0};
  std::vector<std::int32_t> indices;
  std::vector<float> data;
};

/// What rank 0 writes as layer 2, in a folder of its own; statistics of features are 0. Collective.
inline std::filesystem::path features_file(const std::string& name, const Codes& codes, Index features) {
  const auto path = empty_folder(name) / "features.h5";
  comm::agree(world(), [&] {
    if (world().rank() != 0) return;
    const auto of_features = static_cast<std::size_t>(features);
    auto file = io::File::create(path);
    const auto counted = std::count(codes.row_kind.begin(), codes.row_kind.end(), 0);
    for (const auto& [attribute, value] : std::map<std::string, std::string>{{"concord_stage", "encode"},
                                                                             {"layers", "[2]"},
                                                                             {"token_hash", "t"},
                                                                             {"stage_digest", "s"},
                                                                             {"counted_rows", std::to_string(counted)}})
      file.write_attribute(attribute, value);
    file.write("/row_kind", codes.row_kind);
    file.write("/layer_002/indptr", codes.indptr);
    file.write("/layer_002/indices", codes.indices);
    file.write("/layer_002/data", codes.data);
    file.write("/layer_002/count", std::vector<Index>(of_features));
    file.write("/layer_002/sum", std::vector<double>(of_features));
    file.write("/layer_002/sum_squares", std::vector<double>(of_features));
    file.write("/layer_002/max", std::vector<float>(of_features));
    file.write("/layer_002/top_rows", std::vector<Index>(of_features, -1), {features, 1});
    file.write("/layer_002/top_values", std::vector<float>(of_features), {features, 1});
    file.close();
  });
  world().barrier();
  return path;
}

} // namespace concord::test
