#pragma once
// Keys of models: "model.NAME.key". Local.

namespace concord::study {

inline constexpr const char* model_table = "model.";

} // namespace concord::study
