#include "concord/subspaces/subspaces.hpp"

#include "subspaces/stage/stage.hpp"

namespace concord::subspaces {

void subspaces(const comm::Communicator& comm, const SubspacesOptions& options) {
  Stage(comm, options).run();
}

} // namespace concord::subspaces
