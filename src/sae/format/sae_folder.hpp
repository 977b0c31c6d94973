#pragma once
/// The folder that a training writes: what is in it may be replaced, anything else may not. Local.

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>

namespace concord::sae {

/// training.json of the SAE in `folder`, with stage_digest, settings and inputs; nothing where there is no folder or an empty one.
/// @throws Error config where `folder` is something else or holds files that no training writes.
std::optional<nlohmann::json> record_of_sae(const std::filesystem::path& folder);

/// Removes the SAE in `folder`, if there is one. @throws Error as record_of_sae(), io.
void remove_sae(const std::filesystem::path& folder);

} // namespace concord::sae
