#include "concord/corpus/token_reader.hpp"

#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"

namespace concord::app {

/// Piece by piece: a corpus may be larger than memory.
std::string check_tokens(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& stop) {
  const corpus::TokenReader tokens(path);
  tokens.check(&stop);
  look(stop);
  return fmt::format("{} tokens", tokens.count());
}

} // namespace concord::app
