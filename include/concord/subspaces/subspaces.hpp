#pragma once
/// Stage `subspaces`: features + concept lists -> subspaces.h5: which features belong to a concept, how alike these are in two models, how
/// their subspaces act on the models' predictions, and whether alike concepts act alike (docs/subspaces.md). Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/extract/options.hpp"
#include "concord/subspaces/settings.hpp"

#include <filesystem>
#include <string>

namespace concord::subspaces {

/// What a model brings.
struct ModelInputs {
  std::filesystem::path features;    ///< features.h5
  std::string saes;                  ///< folder of layer_LLL folders, or a path with {layer}
  std::filesystem::path activations; ///< activations.h5; empty, or not there: nothing is said without features
  extract::ExtractOptions model;     ///< its folder, type and device; without a folder no effects are measured
};

struct SubspacesOptions {
  SubspacesSettings settings;
  ModelInputs a, b;
  std::filesystem::path tokens; ///< tokens.h5 of both
  std::uint64_t seed = 0;
  std::string stage_word = "subspaces"; ///< how progress names this run
  std::filesystem::path out;            ///< subspaces.h5 (docs/formats.md)
  bool force = false;
};

/// A layer of a model, then a pair of layers, is a unit of work that is committed by itself; a rerun goes on behind the last one.
/// @throws Error input_missing, bad_data, config, unavailable, io, stopped; agreed.
void subspaces(const comm::Communicator& comm, const SubspacesOptions& options);

} // namespace concord::subspaces
