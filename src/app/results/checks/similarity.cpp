#include "concord/core/fields.hpp"
#include "concord/core/text.hpp"

#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"

namespace concord::app {

std::string check_similarity(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& /*stop*/) {
  const auto file = io::File::open(path);
  const auto pairs = static_cast<Index>(file.integers("layers_a").size() * file.integers("layers_b").size());
  file.dataset("/pairs", {pairs, 2});
  const Fields attributes({{"measures", parse_json(file.attribute("measures"))}}, path.string());
  const auto measures = attributes.get<std::vector<std::string>>("measures");
  for (const auto& measure : measures) {
    for (const char* name : {"/p", "/q", "/max_p", "/stratified_p", "/subset_p"}) check_between(file, "/" + measure + name, {pairs}, 0, 1);
    for (const double p : file.read<double>("/" + measure + "/p"))
      require(p != 0, ExitCode::bad_data, "{}:/{}/p holds 0, which no number of permutations can give", path.string(), measure);
    check_between(file, "/" + measure + "/score", {pairs}, -1 - 1e-9, 1 + 1e-9);
  }
  return fmt::format("similarity of {} layer pairs, {}", pairs, join(measures, ", "));
}

} // namespace concord::app
