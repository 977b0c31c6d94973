#pragma once
// Each stage in a source of its name beside this header; the order stands in app/stages.cpp.

#include "concord/app/stage.hpp"

namespace concord::app {

Stage tokenize_stage();
Stage extract_stage();
Stage train_sae_stage();
Stage recovered_stage();
Stage encode_stage();
Stage correlate_stage();
Stage compare_stage();
Stage subspaces_stage();
Stage report_stage();

} // namespace concord::app
