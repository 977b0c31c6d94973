#include "comm/watch/watchdog_meeting.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

namespace concord::comm {

namespace fs = std::filesystem;

namespace {

using Kind = RankState::Kind;

std::string packed(const std::vector<RankState>& states, Index number) {
  nlohmann::json ranks = nlohmann::json::array();
  for (const auto& state : states) ranks.push_back({{"rank", state.rank}, {"kind", static_cast<int>(state.kind)}, {"text", state.text}});
  return nlohmann::json{{"number", number}, {"ranks", ranks}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void unpack(const std::string& text, std::vector<RankState>& states) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return;
  for (const auto& rank : json["ranks"])
    states.push_back({rank["rank"], 0, static_cast<Kind>(rank["kind"].get<int>()), true, rank["text"]});
}

fs::path file_of(const fs::path& folder, Index first_rank) {
  return folder / fmt::format("from_rank_{:06d}.json", first_rank);
}

} // namespace

bool Meeting::hear(const fs::path& folder, const std::vector<RankState>& here, double seconds, std::vector<RankState>& all) {
  try {
    std::error_code error;
    const fs::path place = folder / ("." + name_);
    const bool suspicious = std::any_of(here.begin(), here.end(), [](const auto& state) { return state.kind != Kind::works; });
    if (!suspicious && !fs::exists(place, error)) return false;
    fs::create_directory(place, error);
    const auto now = Clock::now();
    if (folder_.empty())
      for (const auto& [first, ranks] : nodes) heard_[first] = {"", now};
    folder_ = place;
    write_text_atomic(file_of(place, here.front().rank), packed(here, ++told_)); // of the node's first rank, which may be stopped
    if (!suspicious) return false;
    all.clear();
    for (const auto& [first, ranks] : nodes) {
      Heard& node = heard_[first];
      const auto file = file_of(place, first);
      const std::string text = fs::exists(file, error) ? read_text(file, "state") : "";
      if (text != node.text) node = {text, now};
      const double silent = std::chrono::duration<double>(now - node.when).count();
      if (silent <= seconds / 2) {
        if (node.text.empty()) return false; // its watchdog may yet speak
        unpack(node.text, all);
        continue;
      }
      for (const Index rank : ranks)
        all.push_back({rank, 0, Kind::missing, true, fmt::format("its node says nothing for {}", human_seconds(silent))});
    }
    return true;
  } catch (const std::exception&) { // a file system that fails is no stall
    return false;
  }
}

bool Meeting::first_to_tell() const {
  if (folder_.empty()) return true;
  const int file = ::open((folder_ / "told").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file >= 0) ::close(file);
  return file >= 0;
}

void Meeting::leave() const {
  std::error_code error;
  if (!folder_.empty()) fs::remove_all(folder_, error);
}

} // namespace concord::comm
