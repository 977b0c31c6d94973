#include "concord/app/study_files.hpp"

#include "concord/core/text.hpp"

namespace concord::app {

std::filesystem::path StudyFiles::crosscoder(const study::Pair& pair, int layer_a, int layer_b) const {
  return of(pair) / "crosscoders" / (layer_name(layer_a) + "_" + layer_name(layer_b));
}

std::string StudyFiles::skyline_saes(const study::Study& study) const {
  const auto given = study.text("skyline.saes");
  return given.empty() ? (skyline() / "saes").string() : study.location(given);
}

} // namespace concord::app
