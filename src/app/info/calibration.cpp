#include "app/info/calibration.hpp"

#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

namespace concord::app {

void print_calibration(const cost::Calibration& calibration) {
  const cost::Machine& m = calibration.machine;
  say("machine: {} ({})", m.name, m.source);
  say("{:<72} {:>10} {:>8} {:>8}", "kernel", "seconds", "fitted", "slower");
  for (const auto& probe : calibration.probes)
    say("{:<72} {:>10.4f} {:>8.2f} {:>8.2f}", probe.name, probe.seconds, probe.fitted / probe.seconds, probe.slower);
  say("{:<16} {:>12} {:>12} {:>10}", "units a second", "one rank", "of all", "half at");
  for (std::size_t i = 0; i < cost::kinds_of_work; ++i)
    say("{:<16} {:>12.3e} {:>12.3e} {:>10}", cost::words_of_work()[i], m.rates[i].alone, m.rates[i].together,
        m.rates[i].half > 0 ? fmt::format("{:.0f}", m.rates[i].half) : "");
  say("memory of a node: {}/s", human_bytes(m.memory));
  for (const auto& [where, link] : {std::pair{"within a node", m.within}, std::pair{"between nodes", m.between}})
    say("messages {}: {:.2f} us, {}/s", where, 1e6 * link.latency, human_bytes(link.bandwidth));
  for (const auto& [what, rates] : {std::pair{"read", m.reads}, std::pair{"written", m.writes}})
    say("files {}: {}/s by a rank, {}/s by a node, {}/s by all", what, human_bytes(rates.rank), human_bytes(rates.node),
        human_bytes(rates.all));
}

} // namespace concord::app
