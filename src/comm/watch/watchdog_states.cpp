#include "comm/watch/watchdog_states.hpp"

#include "concord/comm/watch/watchdog.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <map>

namespace concord::comm {

void RankSlot::set_place(const std::string& text) {
  for (std::size_t i = 0; i < place.size(); ++i)
    place[i].store(i < text.size() && i + 1 < place.size() ? text[i] : '\0', std::memory_order_relaxed);
}

std::string RankSlot::get_place() const {
  std::string text;
  for (const auto& c : place) {
    const char value = c.load(std::memory_order_relaxed);
    if (value == '\0') break;
    text += value;
  }
  return text;
}

RankState state_of(const RankSlot& slot, Index now, Index allowed) {
  constexpr Index patience = 10; // with a rank that computes without a sign
  using Kind = RankState::Kind;
  const auto since = [&](const std::atomic<Index>& time) { return now - time.load(); };
  const auto seconds = [](Index ns) { return human_seconds(1e-9 * static_cast<double>(ns)); };
  RankState state{slot.rank, slot.pid, Kind::works, true, ""};
  const auto place = slot.get_place();
  const char* call = mpi_call_name(static_cast<int>(slot.call.load()));
  if (since(slot.seen) > allowed) {
    state.kind = Kind::missing;
    state.runs = false;
    state.text = fmt::format("its process (pid {}) has not run for {}; it was {}, {}", state.pid, seconds(since(slot.seen)),
                             *call != '\0' ? fmt::format("in {}", call) : "outside MPI", place);
  } else if (*call != '\0') {
    if (since(slot.beat) > allowed) state.kind = Kind::waits;
    state.text = fmt::format("in {}, {}", call, place);
  } else {
    const bool idle = since(slot.beat) > allowed && since(slot.busy) > allowed;
    if (slot.outside == 0 && (idle || since(slot.beat) > patience * allowed)) state.kind = Kind::missing;
    state.text = fmt::format("outside MPI (pid {}), no progress for {}{}, {}", state.pid, seconds(since(slot.beat)),
                             idle ? ", its processor idle" : "", place);
  }
  return state;
}

bool is_stalled(const std::vector<RankState>& all) {
  const auto count = [&](RankState::Kind kind) {
    return std::count_if(all.begin(), all.end(), [&](const auto& s) { return s.kind == kind; });
  };
  const auto missing = count(RankState::Kind::missing);
  const auto waiting = count(RankState::Kind::waits);
  const auto total = static_cast<std::ptrdiff_t>(all.size());
  return (missing > 0 && waiting > 0) || (total > 0 && missing + waiting == total);
}

std::string told(const std::vector<RankState>& all, double seconds) {
  std::vector<std::string> missing;
  std::map<std::string, std::vector<Index>> others;
  std::string lines;
  for (const auto& state : all)
    if (state.kind == RankState::Kind::missing) {
      missing.push_back(std::to_string(state.rank));
      lines += fmt::format("concord:   rank {}: {}\n", state.rank, state.text);
    } else {
      others[state.text].push_back(state.rank);
    }
  for (const auto& [text, ranks] : others) {
    constexpr std::size_t shown = 16;
    const std::vector<Index> first(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(std::min(shown, ranks.size())));
    lines += fmt::format("concord:   {} {}{}: {}\n", ranks.size() == 1 ? "rank" : "ranks", fmt::join(first, ", "),
                         ranks.size() > shown ? fmt::format(" and {} more", ranks.size() - shown) : "", text);
  }
  const std::string who = missing.empty() ? "all ranks wait for each other"
                                          : fmt::format("{} {} missing", missing.size() == 1 ? "rank" : "ranks",
                                                        join(missing, ", ") + (missing.size() == 1 ? " is" : " are"));
  return fmt::format("concord: error: the job has stalled for more than {}: {}; finished work is saved, run the same command to go on "
                     "(--stall-timeout)\n{}",
                     human_seconds(seconds), who, lines);
}

} // namespace concord::comm
