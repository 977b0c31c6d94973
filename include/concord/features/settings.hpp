#pragma once
/// Settings of stage `encode`. Local.

#include "concord/core/settings.hpp"

namespace concord::features {

struct EncodeSettings {
  Index top = 20;
  bool keep_special = false;
  double max_norm = 10;
  bool before_top_k = false;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("top", s.top, within(1, largest_int), "strongest activations kept a feature, for the report and the token filters");
    setting("keep_special", s.keep_special, anything(), "also encode and count BOS rows");
    setting("max_norm", s.max_norm, at_least(0),
            "rows longer than so many median norms of their layer get no codes, as if no feature were active; 0: all get theirs");
    setting("before_top_k", s.before_top_k, anything(),
            "TopK SAEs: every positive pre-activation instead of the k largest (the predecessor's Pythia runs); dense, for small corpora");
  }
};

} // namespace concord::features
