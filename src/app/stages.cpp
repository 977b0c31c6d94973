#include "concord/app/stages.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/error.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"

#include "app/results/profile.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {

const std::vector<Stage>& stages() {
#define CONCORD_MAKE(name) name##_stage(),
  static const std::vector<Stage> all{CONCORD_STAGES(CONCORD_MAKE)};
#undef CONCORD_MAKE
  return all;
}

const Stage& stage_of(const std::string& word) {
  std::vector<std::string> words;
  for (const Stage& stage : stages()) {
    if (stage.word == word) return stage;
    words.push_back(stage.word);
  }
  fail(ExitCode::usage, "there is no stage {}; the stages are {}", word, join(words, ", "));
}

std::vector<std::string> stages_without_work(const study::Study& study) {
  std::vector<std::string> words;
  for (const Stage& stage : stages())
    if (stage.has_work && !stage.has_work(study)) words.push_back(stage.word);
  return words;
}

void run_stage(const comm::Communicator& comm, const std::string& word, const study::Study& study, bool force, Share share) {
  const StudyFiles files(study);
  run_record().accepted = [path = files.resolved(), text = study.resolved()] {
    make_folder(path.parent_path());
    write_text_shared(path, text);
  };
  const Stage& stage = stage_of(word);
  comm::agree(comm, [&] {
    require(share.of == 1 || !stage.units.empty(), ExitCode::usage, "--share: {} makes one thing, so there is nothing to share", word);
  });
  StageProfile profile(comm, word);
  stage.run({comm, study, files, force, share});
  profile.finish(word, files.output, share.of > 1 ? fmt::format("_share_{}_of_{}", share.number, share.of) : "");
}

} // namespace concord::app
