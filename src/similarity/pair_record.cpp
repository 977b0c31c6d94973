#include "similarity/pair_record.hpp"

#include "concord/io/dataset_bytes.hpp"
#include "concord/similarity/file_bytes.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace concord::similarity {
namespace {

const char* const side_fields[] = {"/factors/k_a",         "/factors/rank_a",   "/factors/variance_at_k_a", "/factors/variance_before_k_a",
                                   "/factors/k_b",         "/factors/rank_b",   "/factors/variance_at_k_b", "/factors/variance_before_k_b",
                                   "/factors/forced_ones", "/factors/gram_a",   "/factors/gram_b",          "/rdm/ties_a",
                                   "/rdm/ties_b",          "/rdm/kendall_error"};

} // namespace

std::vector<PairField> pair_fields(const SpaceOptions& options) {
  std::vector<PairField> fields{{"/matched"}, {"/mean_r"}};
  for (const char* name : side_fields) fields.push_back({name});
  for (const auto& measure : options.measures) {
    for (const auto& column : measure_columns()) fields.push_back({fmt::format("/{}/{}", measure, column)});
    for (const auto& [name, width] : {std::pair{"/null", options.permutations}, std::pair{"/null_stratified", options.stratified},
                                      std::pair{"/null_subset", options.subsets}})
      if (width > 0) fields.push_back({fmt::format("/{}{}", measure, name), width});
  }
  return fields;
}

double similarity_file_bytes(const SpaceOptions& options, double pairs) {
  double bytes = io::dataset_bytes(8 * pairs);
  for (const auto& field : pair_fields(options)) bytes += io::dataset_bytes(8 * static_cast<double>(field.count()) * pairs);
  return bytes;
}

std::vector<double> pair_record(Index matched, double mean_r, const SpaceComparison& c, const SpaceOptions& options) {
  std::vector<double> record{static_cast<double>(matched), mean_r};
  for (const auto* side : {&c.x, &c.y})
    record.insert(record.end(),
                  {static_cast<double>(side->k), static_cast<double>(side->rank), side->variance_at_k, side->variance_before_k});
  record.insert(record.end(), {static_cast<double>(c.forced_ones), c.route_x == "gram" ? 1.0 : 0.0, c.route_y == "gram" ? 1.0 : 0.0,
                               c.ties_x, c.ties_y, c.kendall_error});
  for (const auto& name : options.measures) {
    const Measure& measure = c.measures.at(name);
    const auto values = measure_values(measure);
    record.insert(record.end(), values.begin(), values.end());
    for (const auto& [null, width] : {std::pair{&measure.shuffled, options.permutations},
                                      std::pair{&measure.stratified, options.stratified}, std::pair{&measure.subsets, options.subsets}}) {
      auto padded = null->values;
      padded.resize(static_cast<std::size_t>(width), not_known);
      record.insert(record.end(), padded.begin(), padded.end());
    }
  }
  return record;
}

void write_pair_record(io::File& file, const std::vector<PairField>& fields, Index pair, const double* record) {
  for (const auto& field : fields) {
    file.dataset(field.name).write_rows(pair, 1, record);
    record += field.count();
  }
}

} // namespace concord::similarity
