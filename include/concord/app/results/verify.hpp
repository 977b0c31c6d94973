#pragma once
/// `concord verify`: is a file that concord wrote whole and consistent?

#include "concord/comm/session.hpp"

#include <string>
#include <vector>

namespace concord::app {

/// Checks files and SAE folders by the rules of their stages and says a line about each that is right. Each is read by one rank, as many at
/// once as there are ranks. Collective over `comm`.
/// @throws Error input_missing, or bad_data naming what is wrong with the first that is, or stopped; agreed.
void verify(const comm::Communicator& comm, const std::vector<std::string>& paths);

} // namespace concord::app
