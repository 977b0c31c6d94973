#pragma once
// The flags of every command that runs a model.

#include "concord/comm/session.hpp"
#include "concord/corpus/settings.hpp"
#include "concord/extract/options.hpp"

#include "app/command/setting_flags.hpp"
#include <memory>
#include <set>
#include <string>

namespace concord::app {

class ModelFlags {
public:
  /// Those of the extraction's settings, but for `without`, and --model, --tokens and --layers.
  explicit ModelFlags(CLI::App& command, std::set<std::string> without = {});
  /// Puts what was given into options(). Collective over `comm`. @throws Error usage or config; agreed.
  /// Token ids of an array become a tokens.h5 beside `out`; `force` replaces one of other ids.
  void take(const comm::Communicator& comm, const std::filesystem::path& out, bool force);
  extract::ExtractOptions& options() { return *options_; }

private:
  std::shared_ptr<extract::ExtractOptions> options_ = std::make_shared<extract::ExtractOptions>();
  std::shared_ptr<std::string> layers_ = std::make_shared<std::string>("all");
  std::shared_ptr<std::int32_t> bos_id_ = std::make_shared<std::int32_t>(corpus::CorpusSettings{}.bos_id);
  std::shared_ptr<GivenSettings> given_;
};

} // namespace concord::app
