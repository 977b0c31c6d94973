#pragma once
/// Sums and copies between the GPUs of ranks, by NCCL: each rank has a GPU of its own. Collective over the communicator that it is made
/// for. Queued on the default stream, as libtorch's kernels are. What a call takes on the GPU (waiting for other GPUs included, and not
/// what stands in front of it on the stream) is noted as note_gpu_exchange() says, by a pair of events which the next call looks at:
/// nothing waits for them. While it lives a thread looks once a second whether NCCL has lost a peer, and ends the job then (69).

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <memory>
#include <span>

namespace concord::comm {

class Nccl {
public:
  /// Whether this build has NCCL. Local.
  static bool built();
  /// @throws Error config without NCCL, unavailable where it cannot start; agreed.
  Nccl(const Communicator& comm, int gpu);
  ~Nccl();
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;
  /// Numbers on the GPU that belong to a rank.
  struct Part {
    float* values;
    Index count;
    int owner;
  };
  /// Every rank passes the same parts. In place: behind it the owner of each holds the sum of all ranks' numbers.
  void sum_at_owners(std::span<const Part> parts);
  /// In place: behind it all ranks hold what the owner held.
  void copy_from_owners(std::span<const Part> parts);
  /// In place, at all ranks.
  void sum(float* values, Index count);

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace concord::comm
