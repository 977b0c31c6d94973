#pragma once

#include "concord/app/stage.hpp"

/// Every stage, in the order of `run`. A new one is a source of its name in this folder and its name here.
#define CONCORD_STAGES(X) X(tokenize) X(extract) X(train_sae) X(recovered) X(encode) X(correlate) X(graph) X(compare) X(subspaces) X(report)

namespace concord::app {

#define CONCORD_DECLARE(name) Stage name##_stage();
CONCORD_STAGES(CONCORD_DECLARE)
#undef CONCORD_DECLARE

} // namespace concord::app
