#include "subspaces/carried/carried_stage.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/philox.hpp"

#include <algorithm>

namespace concord::subspaces {
namespace {

struct Maps {
  AffineMap map;
  std::array<double, map_parts> rows{};
  double strength = 0;
  double r2 = 0;
};

Maps fitted(const comm::Communicator& comm, const CarriedInputs& in, bool shuffled) {
  const auto moments = [&](MapPart part) {
    return map_moments(comm, in.rows, in.contexts[static_cast<std::size_t>(part)], shuffled, in.tests.seed);
  };
  Maps maps;
  {
    const auto fit = moments(MapPart::fit);
    const auto choose = moments(MapPart::choose);
    maps.rows = {fit.n, choose.n, 0};
    const auto chosen = comm::agreed(comm, [&] { return choose_map(fit, choose); });
    maps.map = chosen.map;
    maps.strength = chosen.strength;
  }
  const auto held = moments(MapPart::held);
  maps.rows[static_cast<std::size_t>(MapPart::held)] = held.n;
  maps.r2 = r_squared(maps.map, held);
  return maps;
}

/// A dataset: its name and what follows the pair and the direction.
struct Field {
  const char* name;
  Dtype dtype;
  std::vector<Index> dims;
};

std::vector<Field> fields(Index c) {
  constexpr Index kinds = carried_kinds;
  return {{"rows", Dtype::f64, {map_parts}},
          {"ridge", Dtype::f64, {2}},
          {"r2", Dtype::f64, {2}},
          {"spans", Dtype::i32, {c}},
          {"documents", Dtype::i32, {c}},
          {"dimensions", Dtype::i32, {kinds, c}},
          {"kl", Dtype::f64, {kinds, c, c}},
          {"loss", Dtype::f64, {kinds, c, c}},
          {"energy", Dtype::f64, {kinds, c, c}},
          {"ratio", Dtype::f64, {kinds, c}},
          {"mean_ratio", Dtype::f64, {kinds, 3}},
          {"contrast", Dtype::f64, {kinds}},
          {"contrast_p", Dtype::f64, {kinds, 2}}};
}

} // namespace

CarriedResult carry(const comm::Communicator& comm, const CarriedInputs& in) {
  comm::agree(comm, [&] {
    for (const auto* rows : {&in.rows.x, &in.rows.y})
      require(rows->rows() == in.rows.tokens.count(), ExitCode::bad_data, "{} has {} rows for {} tokens", rows->location(), rows->rows(),
              in.rows.tokens.count());
  });
  const Maps own = fitted(comm, in, false);
  const Maps shuffled = fitted(comm, in, true);
  CarriedResult result;
  result.rows = own.rows;
  result.ridge = {own.strength, shuffled.strength};
  result.r2 = {own.r2, shuffled.r2};
  const auto bases = comm::agreed(comm, [&] { return carried_bases(in.from, in.to, own.map, shuffled.map, in.tests.seed); });
  const auto removed = removed_of(bases);
  std::vector<std::int32_t> held;
  std::copy_if(in.at_spans.begin(), in.at_spans.end(), std::back_inserter(held),
               [&](std::int32_t span) { return in.spans[static_cast<std::size_t>(span)].document_half == 1; });
  const auto effects = in.runner.span_effects(in.layer, in.to.centre, removed.bases, {in.spans, held, in.after});
  comm::agree(comm, [&] {
    if (comm.rank() == 0) result.effects = carried_effects(in.spans, effects, removed, bases, in.tests);
  });
  return result;
}

void lay_out_carried(io::File& file, const std::vector<std::int32_t>& pairs, Index concepts) {
  const auto count = static_cast<Index>(pairs.size()) / 2;
  file.write("/carried/pairs", pairs, {count, 2});
  for (const auto& field : fields(concepts)) {
    std::vector<Index> dims{count * directions};
    dims.insert(dims.end(), field.dims.begin(), field.dims.end());
    file.create_dataset(std::string("/carried/") + field.name, dims, field.dtype);
  }
  std::vector<std::string> kinds;
  for (int kind = 0; kind < carried_kinds; ++kind) kinds.emplace_back(name_of(static_cast<CarriedKind>(kind)));
  file.write_attribute("carried", nlohmann::json(kinds).dump());
}

void write_carried(io::File& file, Index pair, int direction, const CarriedResult& result) {
  const auto write = [&](const char* name, const auto& values) {
    auto dataset = file.dataset(std::string("/carried/") + name);
    require(dataset.row_size() == static_cast<Index>(values.size()), ExitCode::internal, "carried {}: {} values for a row of {}", name,
            values.size(), dataset.row_size());
    dataset.write_rows(pair * directions + direction, 1, values.data());
  };
  const CarriedEffects& of = result.effects;
  write("rows", result.rows);
  write("ridge", result.ridge);
  write("r2", result.r2);
  write("spans", of.spans);
  write("documents", of.documents);
  write("dimensions", of.dimensions);
  write("kl", of.kl);
  write("loss", of.loss);
  write("energy", of.energy);
  write("ratio", of.ratio);
  write("mean_ratio", of.mean_ratio);
  write("contrast", of.contrast);
  write("contrast_p", of.contrast_p);
}

double carried_bytes(Index pairs, Index concepts) {
  double bytes = 0;
  for (const auto& field : fields(concepts)) {
    double values = 1;
    for (const Index length : field.dims) values *= static_cast<double>(length);
    bytes += values * static_cast<double>(size_of(field.dtype)) * directions * static_cast<double>(pairs);
  }
  return bytes + 8 * static_cast<double>(pairs); // and the pairs themselves
}

} // namespace concord::subspaces
