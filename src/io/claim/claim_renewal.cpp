#include "io/claim/claim_renewal.hpp"

#include "concord/core/error.hpp"

#include "io/claim/claim_owner.hpp"
#include <condition_variable>
#include <csignal>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace concord::io {
namespace {

/// The job ends at once: what it writes is another run's now. Without MPI, which belongs to the other thread.
[[noreturn]] void end_stolen(const std::string& claim, const std::string& by) {
  const auto line = fmt::format("concord: {} was taken over by {}; this run ends\n", claim, by);
  static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()));
  ::_exit(static_cast<int>(ExitCode::stopped));
}

class Renewal {
public:
  ~Renewal() {
    {
      const std::lock_guard guard(lock_);
      ended_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void add(const std::string& claim, const std::string& token) {
    const std::lock_guard guard(lock_);
    claims_[claim] = {token};
    if (!thread_.joinable()) start();
  }

  void remove(const std::string& claim) {
    const std::lock_guard guard(lock_);
    claims_.erase(claim);
  }

private:
  void start() {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals go to the thread that works
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void run() {
    std::unique_lock guard(lock_);
    while (!changed_.wait_for(guard, renewal_interval, [&] { return ended_; }))
      for (auto& [claim, mine] : claims_) renew(claim, mine);
  }

  struct Mine {
    std::string token;
    bool missed = false; ///< the claim was not there
  };

  static void renew(const std::string& claim, Mine& mine) {
    try {
      const auto owner = owner_in(claim);
      if (owner && owner->token != mine.token) end_stolen(claim, described(*owner));
      if (!owner && mine.missed) end_stolen(claim, "a run that has ended since");
      mine.missed = !owner;
    } catch (const std::exception&) { // the file system or memory is away: nobody can steal now
      return;
    }
    ::utimensat(AT_FDCWD, claim.c_str(), nullptr, 0);
  }

  std::mutex lock_;
  std::condition_variable changed_;
  std::map<std::string, Mine> claims_;
  std::thread thread_;
  bool ended_ = false;
};

Renewal& renewal() {
  static Renewal instance;
  return instance;
}

} // namespace

void keep_renewed(const std::filesystem::path& claim, const std::string& token) {
  renewal().add(claim.string(), token);
}

void renew_no_more(const std::filesystem::path& claim) {
  renewal().remove(claim.string());
}

} // namespace concord::io
