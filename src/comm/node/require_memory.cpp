#include "concord/comm/node/require_memory.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/session.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/text.hpp"

namespace concord::comm {

void require_memory(const Communicator& comm, const MemoryPlan& plan, const std::string& advice) {
  require_memory(comm, plan, [&](const MemoryItem& /*largest*/) { return advice; });
}

void require_memory(const Communicator& comm, const MemoryPlan& plan, const std::function<std::string(const MemoryItem& largest)>& advice) {
  const MemoryPlan surely = plan.without_upper_bounds();
  const int here = node_size(comm);
  const double on_node = surely.of_all(here, sum_on_node(comm, comm.rank() == 0 ? 1.0 : 0.0) > 0);
  const double available = available_memory() * here / std::max(here, ranks_of_job_on_node());
  if (surely.items().empty()) return;
  const MemoryItem largest = surely.largest(here);
  agree(comm, [&] {
    require(on_node <= available, ExitCode::unavailable,
            "{} does not fit: {} ranks of this node need {} (the largest array, {}, is {} {} = {}), and {} are free for them; {}",
            plan.stage(), here, human_bytes(on_node), largest.what, human_bytes(largest.bytes),
            largest.holder == MemoryItem::Holder::rank ? "on each rank" : "once", largest.formula, human_bytes(available), advice(largest));
  });
}

} // namespace concord::comm
