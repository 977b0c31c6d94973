#include "app/file_checks.hpp"

#include "concord/core/text.hpp"
#include "concord/io/contents.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace concord::app {

void look(const comm::StopWithin& stop) {
  if (stop.wanted_here()) throw Error(ExitCode::stopped, "verify stopped");
}

std::vector<int> layers_in(const io::File& file, const char* name) {
  const auto layers = nlohmann::json::parse(file.attribute(name), nullptr, false);
  const bool numbers =
      layers.is_array() && std::all_of(layers.begin(), layers.end(), [](const auto& layer) { return layer.is_number_integer(); });
  require(numbers, ExitCode::bad_data, "{}: the attribute {} is damaged", file.path().string(), name);
  return layers.get<std::vector<int>>();
}

void check_between(const io::File& file, const std::string& name, double least, double most) {
  for (const double value : file.read<double>(name))
    require(std::isnan(value) || (value >= least && value <= most), ExitCode::bad_data, "{}:{} holds {}, which is not between {} and {}",
            file.path().string(), name, value, least, most);
}

std::string check_contents(const std::filesystem::path& path, const comm::StopWithin& stop) {
  const auto contents = io::check_content_digests(path, stop);
  look(stop);
  require(contents.changed.empty(), ExitCode::bad_data, "{}: {} hold other values than were written; make the file again", path.string(),
          join(contents.changed, ", "));
  if (contents.digested > 0) return "";
  return fmt::format("{} holds no digests of its contents (an older version made it); only its structure is checked", path.string());
}

} // namespace concord::app
