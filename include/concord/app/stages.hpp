#pragma once
/// All stages, in the order in which `run` takes them.

#include "concord/app/stage.hpp"

namespace concord::app {

/// Local.
const std::vector<Stage>& stages();

/// Local. @throws Error usage, naming the stages that there are.
const Stage& stage_of(const std::string& word);

/// Words of the stages that have nothing to do in the study. Local. @throws Error config.
std::vector<std::string> stages_without_work(const study::Study& study);

/// Runs one stage of the study, or a share of its units. Collective over `comm`. @throws Error, agreed.
void run_stage(const comm::Communicator& comm, const std::string& word, const study::Study& study, bool force, Share share = {});

} // namespace concord::app
