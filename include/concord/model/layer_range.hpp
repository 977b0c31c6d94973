#pragma once
/// Which of a language model's blocks a rank has. Local.

namespace concord::model {

/// Blocks [first, end); first = 0 includes the embedding.
struct LayerRange {
  int first = 0;
  int end = 0;
  bool head = false; ///< also the final norm and the head, for the loss
};

} // namespace concord::model
