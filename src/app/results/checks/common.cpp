#include "app/results/checks/common.hpp"

#include "concord/core/text.hpp"
#include "concord/io/contents.hpp"

#include <cmath>

namespace concord::app {

void look(const comm::StopWithin& stop) {
  if (stop.wanted_here()) throw Error(ExitCode::stopped, "verify stopped");
}

void check_between(const io::File& file, const std::string& name, double least, double most) {
  check_between(file, name, file.dataset(name).dims(), least, most);
}

void check_between(const io::File& file, const std::string& name, const std::vector<Index>& dims, double least, double most) {
  for (const double value : file.read<double>(name, dims))
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
