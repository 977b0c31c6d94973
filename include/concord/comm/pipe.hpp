#pragma once
/// Messages between neighbours of a pipeline, moving while both compute.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <memory>

namespace concord::comm {

class Pipe {
public:
  /// Receives from rank `before` and sends to rank `behind` of `comm`; -1: nobody. Local.
  Pipe(const Communicator& comm, int before, int behind);
  ~Pipe();
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  /// Lets the next message arrive in `bytes`, which must stay; one at a time. Local.
  void start_receive(void* bytes, Index count);
  /// Waits until it is there.
  void finish_receive();
  /// Sends `count` bytes that `owner` keeps alive; waits while two earlier messages are under way.
  void start_send(const void* bytes, Index count, std::shared_ptr<void> owner);
  /// Lets messages under way move on; call it now and then while computing. Local.
  void progress();
  /// Waits for all sends and gives up a receive that nobody will answer.
  void finish();

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace concord::comm
