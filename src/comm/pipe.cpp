#include "concord/comm/pipe.hpp"

#include <mpi.h>

#include "comm/message_size.hpp"
#include <algorithm>
#include <deque>
#include <vector>

namespace concord::comm {
namespace {

constexpr int tag = 71;

using Requests = std::vector<MPI_Request>;

bool all_done(Requests& requests) {
  int done = 0;
  MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
  return done != 0;
}

} // namespace

struct Pipe::State {
  struct Sending {
    Requests requests;
    std::shared_ptr<void> owner;
  };
  MPI_Comm comm;
  int before;
  int behind;
  Requests receiving;
  std::deque<Sending> sending;
};

Pipe::Pipe(const Communicator& comm, int before, int behind)
    : state_(std::make_unique<State>(State{static_cast<MPI_Comm>(comm), before, behind, {}, {}})) {}

Pipe::~Pipe() = default;

void Pipe::start_receive(void* bytes, Index count) {
  for (Index done = 0; done < count; done += most_a_message) {
    state_->receiving.push_back(MPI_REQUEST_NULL);
    MPI_Irecv(static_cast<char*>(bytes) + done, static_cast<int>(std::min(most_a_message, count - done)), MPI_BYTE, state_->before, tag,
              state_->comm, &state_->receiving.back());
  }
}

void Pipe::finish_receive() {
  MPI_Waitall(static_cast<int>(state_->receiving.size()), state_->receiving.data(), MPI_STATUSES_IGNORE);
  state_->receiving.clear();
}

void Pipe::start_send(const void* bytes, Index count, std::shared_ptr<void> owner) {
  auto& sending = state_->sending;
  while (sending.size() >= 2) {
    auto& requests = sending.front().requests;
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    sending.pop_front();
  }
  sending.push_back({{}, std::move(owner)});
  for (Index done = 0; done < count; done += most_a_message) {
    sending.back().requests.push_back(MPI_REQUEST_NULL);
    MPI_Isend(static_cast<const char*>(bytes) + done, static_cast<int>(std::min(most_a_message, count - done)), MPI_BYTE, state_->behind,
              tag, state_->comm, &sending.back().requests.back());
  }
}

void Pipe::progress() {
  if (!state_->receiving.empty()) all_done(state_->receiving);
  while (!state_->sending.empty() && all_done(state_->sending.front().requests)) state_->sending.pop_front();
}

void Pipe::finish() {
  for (auto& message : state_->sending)
    MPI_Waitall(static_cast<int>(message.requests.size()), message.requests.data(), MPI_STATUSES_IGNORE);
  state_->sending.clear();
  for (auto& request : state_->receiving) {
    if (request == MPI_REQUEST_NULL) continue;
    MPI_Cancel(&request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
  }
  state_->receiving.clear();
}

} // namespace concord::comm
