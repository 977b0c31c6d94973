// Whether the results of a study were made of one another: what a report shows side by side must belong together.

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/output.hpp"
#include "concord/sae/sae.hpp"

#include <nlohmann/json.hpp>

#include "app/report.hpp"

namespace concord::app {

namespace fs = std::filesystem;

namespace {

nlohmann::json inputs_of(const fs::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("inputs"), ExitCode::bad_data, "{} is no file of a concord stage", path.string());
  auto inputs = nlohmann::json::parse(file.attribute("inputs"), nullptr, false);
  require(inputs.is_object(), ExitCode::bad_data, "{}: its attribute inputs is no JSON object", path.string());
  return inputs;
}

/// `path` was made by `stage` from a file of this digest under this name.
void expect_input(const fs::path& path, const nlohmann::json& inputs, const std::string& name, const std::string& digest,
                  const std::string& what, const char* stage) {
  const auto found = inputs.find(name);
  if (found == inputs.end() || *found == digest) return; // fused stages have no such input
  fail(ExitCode::config,
       "{} was made from another {} than the one that is there now; run `concord {}` with --force, then the stages behind it",
       path.string(), what, stage);
}

void check_saes(const fs::path& path, const nlohmann::json& inputs, const std::string& prefix, const std::string& saes, const char* stage) {
  const comm::Communicator alone(MPI_COMM_SELF, boost::mpi::comm_attach); // one rank looks
  for (const auto& [name, digest] : inputs.items()) {
    if (!name.starts_with(prefix)) continue;
    const auto layer = layer_of_name(std::string_view(name).substr(prefix.size()));
    require(layer.has_value(), ExitCode::bad_data, "{}: its input {} names no layer", path.string(), name);
    const auto sae = sae::sae_path(saes, *layer);
    std::error_code error;
    if (fs::exists(sae, error)) // it may have been put away
      expect_input(path, inputs, name, sae::sae_digest(alone, sae), "SAE " + fs::path(sae).string(), stage);
  }
}

void check_features(const fs::path& folder, const std::string& saes) {
  const fs::path features = folder / "features.h5";
  const fs::path activations = folder / "activations.h5";
  const auto inputs = inputs_of(features);
  if (fs::exists(activations)) expect_input(features, inputs, "activations", io::stage_digest_of(activations), "activations.h5", "encode");
  check_saes(features, inputs, "sae/", saes, "encode");
}

void check_comparison(const fs::path& folder, const fs::path& a, const fs::path& b, const std::string& saes_a, const std::string& saes_b) {
  const fs::path matches = folder / "matches.h5";
  const fs::path similarity = folder / "similarity.h5";
  const auto matched = inputs_of(matches);
  expect_input(matches, matched, "a", io::stage_digest_of(a), a.string(), "correlate");
  expect_input(matches, matched, "b", io::stage_digest_of(b), b.string(), "correlate");
  const auto compared = inputs_of(similarity);
  expect_input(similarity, compared, "matches", io::stage_digest_of(matches), "matches.h5", "compare");
  check_saes(similarity, compared, "sae_a/", saes_a, "compare");
  check_saes(similarity, compared, "sae_b/", saes_b, "compare");
}

void check_subspaces(const fs::path& subspaces, const std::string& tokens, const ReportOptions& o) {
  if (!fs::exists(subspaces)) return;
  const auto inputs = inputs_of(subspaces);
  expect_input(subspaces, inputs, "tokens", tokens, "tokens.h5", "subspaces");
  for (const auto& [side, saes] : {std::pair{std::string("a"), &o.saes_a}, std::pair{std::string("b"), &o.saes_b}}) {
    const fs::path features = o.output / side / "features.h5";
    expect_input(subspaces, inputs, "features_" + side, io::stage_digest_of(features), features.string(), "subspaces");
    check_saes(subspaces, inputs, "sae_" + side + "/", *saes, "subspaces");
  }
}

} // namespace

void check_inputs(const ReportOptions& o) {
  for (const char* needed : {"tokens.h5", "a/features.h5", "b/features.h5", "matches.h5", "similarity.h5"})
    require(fs::exists(o.output / needed), ExitCode::input_missing, "the report needs {}; run its stage first",
            (o.output / needed).string());
  const auto tokens = io::File::open(o.output / "tokens.h5").attribute("token_hash");
  for (const char* model : {"a", "b"}) {
    const fs::path activations = o.output / model / "activations.h5";
    if (fs::exists(activations)) expect_input(activations, inputs_of(activations), "tokens", tokens, "tokens.h5", "extract");
  }
  check_features(o.output / "a", o.saes_a);
  check_features(o.output / "b", o.saes_b);
  check_comparison(o.output, o.output / "a/features.h5", o.output / "b/features.h5", o.saes_a, o.saes_b);
  check_subspaces(o.output / "subspaces.h5", tokens, o);
}

} // namespace concord::app
