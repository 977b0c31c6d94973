#pragma once
/// The kinds of SAE, one source each, which gives its formulas. The communicator must outlive what is made. Local.

#include "sae/kinds/architecture.hpp"
#include <memory>

namespace concord::sae {

std::unique_ptr<Architecture> make_top_k(const comm::Communicator& comm, const ArchitectureSettings& settings);
std::unique_ptr<Architecture> make_batch_top_k(const comm::Communicator& comm, const ArchitectureSettings& settings);
std::unique_ptr<Architecture> make_matryoshka(const comm::Communicator& comm, const ArchitectureSettings& settings);
std::unique_ptr<Architecture> make_relu(const comm::Communicator& comm, const ArchitectureSettings& settings);
std::unique_ptr<Architecture> make_gated(const comm::Communicator& comm, const ArchitectureSettings& settings);
std::unique_ptr<Architecture> make_jump_relu(const comm::Communicator& comm, const ArchitectureSettings& settings);

} // namespace concord::sae
