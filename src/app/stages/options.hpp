#pragma once
// How a study's settings become what its stages ask for, of a model or of a pair of models. Local. @throws Error config.

#include "concord/app/study_files.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/extract/options.hpp"
#include "concord/features/encode.hpp"
#include "concord/sae/train.hpp"
#include "concord/similarity/compare.hpp"
#include "concord/study/study.hpp"
#include "concord/subspaces/subspaces.hpp"

#include <string>
#include <vector>

namespace concord::app {

extract::ExtractOptions extract_options(const study::Study& study, const study::Model& model);
sae::TrainOptions train_options(const study::Study& study); ///< of any layer: without its rows, seed and output
features::EncodeOptions encode_options(const study::Study& study, const study::Model& model);
correlate::CorrelateOptions correlate_options(const study::Study& study, const study::Pair& pair);
similarity::CompareOptions compare_options(const study::Study& study, const study::Pair& pair);
subspaces::SubspacesOptions subspaces_options(const study::Study& study, const study::Pair& pair);

/// "encode a".
std::string named(const char* stage, const study::Model& model);
/// "correlate small vs large"; the stage's word alone in a study of "a" and "b".
std::string named(const char* stage, const study::Pair& pair);
/// Layers of a model whose residual streams are there. Collective over `comm`. @throws Error input_missing; agreed.
std::vector<int> extracted_layers(const comm::Communicator& comm, const study::Model& model, const StudyFiles& files);
/// Layers of the first model with a second SAE; none without a skyline. Collective over `comm`.
std::vector<int> skyline_layers(const comm::Communicator& comm, const study::Study& study, const StudyFiles& files);

} // namespace concord::app
