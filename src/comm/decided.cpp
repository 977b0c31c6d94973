#include "concord/comm/decided.hpp"

#include "concord/core/digest.hpp"

#include <mpi.h>

namespace concord::comm {

void spread(const Communicator& comm, std::string& text) {
  std::vector<char> bytes(text.begin(), text.end());
  broadcast(comm, bytes);
  text.assign(bytes.begin(), bytes.end());
}

void spread(const Communicator& comm, std::vector<std::string>& texts) {
  auto count = static_cast<Index>(texts.size());
  spread(comm, count);
  texts.resize(static_cast<std::size_t>(count));
  for (auto& text : texts) spread(comm, text);
}

void require_same(const Communicator& comm, const std::string& mine,
                  const std::function<std::string(const std::string& of_root)>& message) {
  const std::string digest = digest_of(mine);
  std::string of_root = digest;
  spread(comm, of_root);
  int first = digest == of_root ? comm.size() : comm.rank();
  MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm);
  if (first == comm.size()) return;
  std::string text = mine;
  spread(comm, text);
  agree(comm, [&] {
    if (comm.rank() == first)
      fail(ExitCode::config, "rank {} on {}: {}", comm.rank(), boost::mpi::environment::processor_name(), message(text));
  });
}

} // namespace concord::comm
