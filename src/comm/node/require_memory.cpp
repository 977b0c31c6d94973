#include "concord/comm/node/require_memory.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/session.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/text.hpp"

#include <algorithm>

namespace concord::comm {

void require_memory(const Communicator& comm, const MemoryPlan& plan, const std::string& advice) {
  const MemoryPlan surely = plan.without_upper_bounds();
  const int here = node_size(comm);
  const double on_node = surely.of_all(here, sum_on_node(comm, comm.rank() == 0 ? 1.0 : 0.0) > 0);
  const double available = available_memory() * here / std::max(here, ranks_of_job_on_node());
  const auto& items = surely.items();
  if (items.empty()) return;
  const auto largest = std::max_element(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  agree(comm, [&] {
    require(on_node <= available, ExitCode::unavailable,
            "{} does not fit: {} ranks of this node need {} (the largest array, {}, is {} = {}), and {} are free for them; {}",
            plan.stage(), here, human_bytes(on_node), largest->what, human_bytes(largest->bytes), largest->formula, human_bytes(available),
            advice);
  });
}

} // namespace concord::comm
