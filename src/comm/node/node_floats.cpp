#include "concord/comm/node/node_floats.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/text.hpp"

namespace concord::comm {

void move_to_nodes(const Communicator& comm, const std::vector<NodeFloats*>& arrays) {
  std::vector<Index> sizes;
  for (const auto* array : arrays) sizes.push_back(static_cast<Index>(array->size()));
  broadcast(comm, sizes);
  Index all = 0;
  for (const Index size : sizes) all += size;
  const bool beside_root = sum_on_node(comm, comm.rank() == 0 ? 1.0 : 0.0) > 0;
  const Index largest = sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end());
  const double wanted = 4.0 * static_cast<double>(beside_root ? largest : all); // rank 0 gives up its own one by one
  agree(comm, [&] {
    require(wanted <= available_memory(), ExitCode::unavailable, "there are no {} free for weights on {}; start fewer ranks a node",
            human_bytes(wanted), boost::mpi::environment::processor_name());
  });
  // Pages are taken as rank 0 fills them while it gives up its own.
  const auto node = std::make_shared<NodeArray>(comm, all, std::vector<int>{}, NodeArray::Taking::as_written);
  Index begin = 0;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const auto part = node->values().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(sizes[i]));
    if (comm.rank() == 0) std::copy(arrays[i]->begin(), arrays[i]->end(), part.begin());
    *arrays[i] = NodeFloats(node, part);
    begin += sizes[i];
  }
  constexpr Index piece = Index{1} << 30; // MPI counts are 32 bits wide
  std::vector<Index> of_ranks(static_cast<std::size_t>(comm.size()), 0);
  for (Index done = 0; done < all; done += piece) {
    of_ranks.front() = std::min(piece, all - done);
    node->share(done, of_ranks, 1);
  }
}

} // namespace concord::comm
