#include "concord/io/claim/claim.hpp"

#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/comm/watch/watchdog.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include "io/claim/claim_owner.hpp"
#include "io/claim/claim_renewal.hpp"
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace concord::io {

namespace fs = std::filesystem;

ClaimPolicy& claim_policy() {
  static ClaimPolicy policy;
  return policy;
}

namespace {

/// Seconds between the last change of `file` and that of `newer`, both by the clock of their file system.
double seconds_between(const fs::path& file, const fs::path& newer) {
  struct stat a {};
  struct stat b {};
  if (::stat(file.c_str(), &a) != 0 || ::stat(newer.c_str(), &b) != 0) return 0;
  return static_cast<double>(b.st_mtim.tv_sec - a.st_mtim.tv_sec) + 1e-9 * static_cast<double>(b.st_mtim.tv_nsec - a.st_mtim.tv_nsec);
}

void write_new(const fs::path& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  require(file >= 0, ExitCode::io, "cannot write {}: {}; choose another study.output or mend its permissions", path.string(),
          std::strerror(errno));
  const bool whole = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int reason = errno;
  ::close(file);
  if (!whole) ::unlink(path.c_str());
  require(whole, ExitCode::io, "cannot write {}: {}", path.string(), std::strerror(reason));
}

/// One try after another to become the owner of a claim. On rank 0.
///
/// A dead owner's claim is never removed by others: who wants it makes the one file that is called after its token, which only one can, and
/// puts it in the claim's place by rename(2). A successor that died in between has one of its own, and so on: the last of the chain is the
/// owner.
class Taking {
public:
  Taking(fs::path claim, ClaimOwner me) : claim_(std::move(claim)), me_(std::move(me)), text_(json_text(me_.json()) + "\n") {}

  /// Whether this run took the claim from one that may live: it must have time to notice.
  bool robbed() const { return robbed_; }

  /// Whether this run owns the claim now; `by`: who else does.
  bool taken(std::string& by) {
    const fs::path draft = unique_name(claim_.string()) + ".new";
    write_new(draft, text_);
    try {
      const bool mine = taken_with(draft, by);
      ::unlink(draft.c_str());
      return mine;
    } catch (...) {
      ::unlink(draft.c_str());
      throw;
    }
  }

private:
  fs::path after(const ClaimOwner& owner) const { return claim_.string() + "." + owner.token; }

  /// Whether `name` is now this run's: there was nothing.
  bool linked(const fs::path& draft, const fs::path& name) const {
    if (::link(draft.c_str(), name.c_str()) == 0) return true;
    const int reason = errno;
    struct stat facts {};
    if (::stat(draft.c_str(), &facts) == 0 && facts.st_nlink == 2) return true; // the answer of a file server got lost
    if (reason == EEXIST) return false;
    require(reason == EPERM || reason == EOPNOTSUPP || reason == ENOSYS || reason == EMLINK, ExitCode::io, "cannot make {}: {}",
            name.string(), std::strerror(reason));
    if (fs::exists(name)) return false;
    write_new(name, text_); // a file system without links
    return true;
  }

  bool taken_with(const fs::path& draft, std::string& by) {
    for (;;) {
      if (linked(draft, claim_)) return true;
      std::vector<ClaimOwner> chain;
      fs::path next = claim_;
      fs::path last = claim_;
      for (auto owner = owner_in(next); owner; owner = owner_in(next)) {
        chain.push_back(*owner);
        last = next;
        if (owner->token.empty()) break;
        next = after(*owner);
      }
      if (chain.empty()) continue; // given back just now
      const double silent = seconds_between(last, draft);
      const bool gone = is_gone(chain.back(), me_, silent);
      robbed_ = !gone && silent < 60;
      if (!claim_policy().steal && !gone) {
        by = fmt::format("{}, last sign of life {} ago", described(chain.back()), human_seconds(std::max(0.0, silent)));
        return false;
      }
      if (chain.back().token.empty()) { // stolen from one without a name
        fs::remove(last);
        continue;
      }
      if (succeeded(draft, chain, next)) return true;
    }
  }

  bool succeeded(const fs::path& draft, const std::vector<ClaimOwner>& chain, const fs::path& next) const {
    if (!linked(draft, next)) return false;
    const auto first = owner_in(claim_);
    if (!first || first->token != chain.front().token) { // the chain was cut short meanwhile
      ::unlink(next.c_str());
      return false;
    }
    fs::rename(next, claim_);
    for (const auto& owner : chain)
      if (after(owner) != next) ::unlink(after(owner).c_str());
    log_warn("{}: taken over from {}", claim_.string(), described(chain.back()));
    return true;
  }

  fs::path claim_;
  ClaimOwner me_;
  std::string text_;
  bool robbed_ = false;
};

constexpr auto pause = std::chrono::milliseconds(250);

/// Folders in which watchdogs met (comm/watchdog.hpp) whose job is gone: they would have written there every 15 s. `claim` was written now.
void remove_old_meetings(const fs::path& claim) {
  constexpr double long_silent = 600;
  std::error_code error;
  for (fs::directory_iterator entry(claim.parent_path(), error), end; !error && entry != end; entry.increment(error)) {
    if (!entry->path().filename().string().starts_with(".stall.")) continue;
    std::error_code ignored;
    if (seconds_between(entry->path(), claim) > long_silent) fs::remove_all(entry->path(), ignored);
  }
}

} // namespace

struct Claim::Held {
  Held(fs::path claim_path, std::string claim_token) : path(std::move(claim_path)), token(std::move(claim_token)) {
    keep_renewed(path, token);
  }
  ~Held() {
    renew_no_more(path);
    try {
      const auto owner = owner_in(path);
      if (owner && owner->token == token) ::unlink(path.c_str());
    } catch (const std::exception&) { // then it is found to be of a run that is gone
    }
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  fs::path path;
  std::string token;
};

Claim::Claim(const comm::Communicator& comm, const fs::path& path) {
  const fs::path claim = path.parent_path() / ("." + path.filename().string() + ".claim");
  comm::let_watchdogs_meet_in(path.parent_path());
  const ClaimOwner me = this_run(comm);
  std::string by;
  bool robbed = false;
  for (bool said = false;; said = true) {
    const bool mine = comm::decided(comm, [&] {
      make_folder(path.parent_path());
      Taking taking(claim, me);
      const bool taken = taking.taken(by);
      robbed = taken && taking.robbed();
      return taken;
    });
    if (mine) break;
    comm::spread(comm, by);
    if (!claim_policy().wait)
      throw Error(
          ExitCode::stopped,
          fmt::format("{} is held by {}; let it end, or give --wait to wait for it, or --steal where it is surely dead", path.string(), by),
          /*agreed=*/true);
    if (!said) log_info("{} is held by {}; waiting for it", path.string(), by);
    if (comm::stop_requested(comm)) comm::throw_stopped("waiting");
    std::this_thread::sleep_for(pause);
  }
  if (comm.rank() == 0) {
    remove_old_meetings(claim);
    held_ = std::make_unique<Held>(claim, me.token);
  }
  comm::spread(comm, robbed);
  if (robbed) std::this_thread::sleep_for(renewal_interval + std::chrono::seconds(2)); // a living owner ends itself meanwhile
}

Claim::~Claim() = default;
Claim::Claim(Claim&&) noexcept = default;
Claim& Claim::operator=(Claim&&) noexcept = default;

} // namespace concord::io
