#pragma once
// How a study's settings become what its stages ask for, of a model or of a pair of models. Local. @throws Error config.

#include "concord/app/study_files.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/extract/options.hpp"
#include "concord/features/encode.hpp"
#include "concord/graph/graph.hpp"
#include "concord/sae/training/train.hpp"
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
/// Best partners of the pair's features on shifted rows, for graph.
correlate::CorrelateOptions shifted_options(const study::Study& study, const study::Pair& pair);
/// Of the pairs that belong to three models of which all pairs are compared; none in a study without such three.
graph::GraphOptions graph_options(const study::Study& study);
/// Whether the stages that compare models have work: a study of one model has no pairs.
bool has_pairs(const study::Study& study);
bool is_in_triple(const study::Study& study, const study::Pair& pair);
similarity::CompareOptions compare_options(const study::Study& study, const study::Pair& pair);
subspaces::SubspacesOptions subspaces_options(const study::Study& study, const study::Pair& pair);

/// "encode a".
std::string named(const char* stage, const study::Model& model);
/// "correlate small vs large"; the stage's word alone in a study of "a" and "b".
std::string named(const char* stage, const study::Pair& pair);
/// Layers of a model whose residual streams are there. Collective over `comm`. @throws Error input_missing; agreed.
std::vector<int> extracted_layers(const comm::Communicator& comm, const study::Model& model, const StudyFiles& files);

} // namespace concord::app
