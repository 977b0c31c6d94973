#include "concord/app/results/verify.hpp"

#include "concord/app/stages.hpp"
#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/sae/sae.hpp"

#include <nlohmann/json.hpp>

#include "app/results/checks/common.hpp"
#include <algorithm>
#include <exception>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

/// What reading a file came to.
struct Verified {
  std::string what;    ///< a line about the file; empty where it is wrong
  std::string warning; ///< or empty
};

std::string verify_sae(const fs::path& path) {
  const auto sae = sae::load_sae(path);
  if (fs::exists(path / "training.json")) {
    const auto record = parse_json(read_text(path / "training.json", "training record"));
    const bool known = record.is_object() && record.contains("weights_digest");
    require(!known || record["weights_digest"] == digest_of_file(path / "sae_weights.safetensors"), ExitCode::bad_data,
            "{} holds other weights than were trained; train it again", path.string());
  }
  return fmt::format("an SAE of {} latents on width {}", sae.latents, sae.d);
}

Verified verify_file(const fs::path& path, const comm::StopWithin& stop) {
  require(fs::exists(path), ExitCode::input_missing, "there is no file {}", path.string());
  if (fs::is_directory(path) || path.extension() == ".npz" || path.extension() == ".safetensors") return {verify_sae(path), ""};
  require(!path.string().ends_with(".partial"), ExitCode::bad_data, "{} is unfinished: run its stage again", path.string());
  const auto file = io::File::open(path);
  require(file.has_attribute("concord_stage"), ExitCode::bad_data, "{} was not made by concord", path.string());
  const std::string word = file.attribute("concord_stage");
  std::string warning = check_contents(path, stop);
  for (const Stage& stage : stages()) {
    const auto check = stage.checks.find(word);
    if (check == stage.checks.end()) continue;
    std::string what = check->second(path, warning, stop);
    return {what, warning};
  }
  fail(ExitCode::bad_data, "{}: unknown stage {}", path.string(), word);
}

/// The parts of a message, each with a NUL behind it.
Verified unpacked(const std::vector<char>& packed) {
  const auto end = std::find(packed.begin(), packed.end(), '\0');
  if (end == packed.end()) return {};
  return {{packed.begin(), end}, {end + 1, packed.end()}};
}

} // namespace

void verify(const comm::Communicator& comm, const std::vector<std::string>& paths) {
  const comm::StopWithin stop(0);
  const auto ranks = static_cast<std::size_t>(comm.size());
  for (std::size_t first = 0; first < paths.size(); first += ranks) {
    const std::size_t mine = first + static_cast<std::size_t>(comm.rank());
    std::exception_ptr failure;
    std::string packed;
    try {
      if (mine < paths.size()) {
        const auto verified = verify_file(paths[mine], stop);
        packed = verified.what + '\0' + verified.warning;
      }
    } catch (...) { // said behind what is right
      failure = std::current_exception();
    }
    stop.throw_if_wanted(comm, "verify");
    comm::gather_each(comm, packed, [&](int rank, std::vector<char>& bytes) {
      const Verified verified = unpacked(bytes);
      if (!verified.warning.empty()) log_warn("{}", verified.warning);
      if (!verified.what.empty()) say("{}: OK, {}", paths[first + static_cast<std::size_t>(rank)], verified.what);
    });
    comm::agree(comm, [&] {
      if (failure) std::rethrow_exception(failure);
    });
  }
}

} // namespace concord::app
