#pragma once
/// Rotary embedding as config.json gives it. Local.

#include "concord/core/fields.hpp"
#include "concord/model/family.hpp"

namespace concord::model {

/// "rope_theta" and "rope_scaling" at the top (older style), or both inside "rope_parameters" (newer). Where a file has both, transformers
/// lets a rope_scaling that is not empty win; a theta inside wins over one at the top. @throws Error bad_data naming the key.
void read_rope(const Fields& fields, ModelConfig& config, const Family::Defaults& defaults);

/// The object of rotary parameters that the rule above takes, empty where there is none.
Fields rope_object(const Fields& fields);

/// What such an object says of scaling: default, linear or llama3. @param longest  the family's max_position_embeddings
/// @param part  whether the family reads a "partial_rotary_factor"; else it must be 1
RopeScaling rope_scaling(const Fields& fields, const Fields& rope, Index longest, bool part = false);

/// The columns of a head that are rotated, where a part of them is. @throws Error bad_data naming the key.
Index rotated_columns(const Fields& fields, const ModelConfig& config, double part);

/// The key "original_max_position_embeddings": transformers prefers the one at the top, and falls back on the longest context.
double original_context(const Fields& fields, const Fields& rope, Index longest);

} // namespace concord::model
