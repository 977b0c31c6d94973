#pragma once
// What `verify` asks of the file of each stage: a FileCheck of stage.hpp each. Local. @throws Error bad_data, or stopped.

#include "concord/comm/stop.hpp"

#include <filesystem>
#include <string>

namespace concord::app {

std::string check_tokens(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_activations(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_features(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_matches(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_matrix(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_similarity(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_graph(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
std::string check_subspaces(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);

} // namespace concord::app
