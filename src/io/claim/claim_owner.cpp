#include "io/claim/claim_owner.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace concord::io {

namespace fs = std::filesystem;

namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}

std::string line_of(const char* path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// Start of a process in clock ticks since boot; nothing when there is none, or it is dead and only waits for its parent.
std::optional<Index> start_of(Index pid) {
  const std::string text = try_read(fmt::format("/proc/{}/stat", pid)).value_or(""); // it may end between opening and reading
  const auto name_end = text.rfind(')');                                             // a program's name may hold blanks
  if (name_end == std::string::npos) return {};
  std::istringstream words(text.substr(name_end + 1));
  std::string word;
  Index start = 0;
  words >> word;
  if (word == "Z" || word == "X") return {};
  constexpr int words_between = 18; // fields 4 to 21 of proc(5)
  for (int i = 0; i < words_between; ++i) words >> word;
  return words >> start ? std::optional(start) : std::nullopt;
}

bool is_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

/// Whether Slurm can be asked, and does not know of the job, or of the step.
bool slurm_knows_not(const ClaimOwner& owner) {
  if (!is_word(owner.job)) return false;
  const bool by_step = is_word(owner.step);
  const std::string command = fmt::format("squeue --noheader {} --jobs={} --format=%i 2>&1", by_step ? "--steps" : "", owner.job);
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return false;
  std::string said;
  std::array<char, 512> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) said += buffer.data();
  const int status = ::pclose(pipe);
  if (said.find("Invalid job id") != std::string::npos) return true;
  if (status != 0) return false; // no squeue, or no controller: nothing is proved
  if (!by_step) return said.find_first_not_of(" \n") == std::string::npos;
  std::istringstream lines(said);
  for (std::string line; lines >> line;)
    if (line == owner.job + "." + owner.step) return false;
  return true;
}

struct RankProcess {
  std::uint64_t host;
  ClaimOwner::Process process;
};

} // namespace

nlohmann::json ClaimOwner::json() const {
  nlohmann::json pids = nlohmann::json::array();
  for (const auto& process : processes) pids.push_back({process.pid, process.start});
  return {{"token", token},     {"host", host},
          {"boot", boot},       {"pid_namespace", processes_space},
          {"processes", pids},  {"other_hosts", other_hosts},
          {"cluster", cluster}, {"job", job},
          {"step", step},       {"restarts", restarts},
          {"began", began}};
}

ClaimOwner this_run(const comm::Communicator& comm) {
  ClaimOwner me;
  me.host = host_name();
  me.boot = line_of("/proc/sys/kernel/random/boot_id");
  std::error_code error;
  me.processes_space = fs::read_symlink("/proc/self/ns/pid", error).string();
  const PieceDigest host = [&] {
    Digest digest;
    digest.add(me.host + me.boot + me.processes_space);
    return digest.value();
  }();
  const RankProcess mine{host.low, {::getpid(), start_of(::getpid()).value_or(0)}};
  for (const auto& rank : comm::gather(comm, std::vector<RankProcess>{mine}))
    if (rank.host == mine.host)
      me.processes.push_back(rank.process);
    else
      me.other_hosts = true;
  me.token = unique_name("run");
  me.cluster = variable("SLURM_CLUSTER_NAME");
  me.job = variable("SLURM_JOB_ID");
  me.step = variable("SLURM_STEP_ID");
  me.restarts = std::atoll(variable("SLURM_RESTART_COUNT").c_str());
  me.began = utc_now();
  return me;
}

std::optional<ClaimOwner> owner_in(const fs::path& claim) {
  const auto text = try_read(claim);
  if (!text) {
    require(errno == ENOENT || errno == ESTALE, ExitCode::io, "cannot read {}: {}", claim.string(), std::strerror(errno));
    return {};
  }
  ClaimOwner owner;
  try {
    const auto json = nlohmann::json::parse(*text);
    for (const auto& [name, to] : {std::pair{"token", &owner.token},
                                   {"host", &owner.host},
                                   {"boot", &owner.boot},
                                   {"pid_namespace", &owner.processes_space},
                                   {"cluster", &owner.cluster},
                                   {"job", &owner.job},
                                   {"step", &owner.step},
                                   {"began", &owner.began}})
      *to = json.at(name).get<std::string>();
    for (const auto& process : json.at("processes")) owner.processes.push_back({process.at(0).get<Index>(), process.at(1).get<Index>()});
    owner.other_hosts = json.at("other_hosts").get<bool>();
    owner.restarts = json.at("restarts").get<Index>();
  } catch (const nlohmann::json::exception&) {
    return ClaimOwner{};
  }
  return owner;
}

bool is_gone(const ClaimOwner& owner, const ClaimOwner& me, double silent) {
  constexpr double long_silent = 300; // of an owner that renews its claim every 5 s
  constexpr double mourning = 30;     // in which ranks on other hosts learn that the others are gone
  if (owner.token.empty()) return false;
  if (owner.boot == me.boot && owner.processes_space == me.processes_space) {
    const bool lives =
        std::any_of(owner.processes.begin(), owner.processes.end(), [](const auto& p) { return start_of(p.pid) == p.start; });
    return !lives && (!owner.other_hosts || silent > mourning);
  }
  if (owner.host == me.host && owner.boot != me.boot && silent > long_silent) return true; // the host was started anew
  if (owner.job.empty() || owner.cluster != me.cluster) return false;
  if (owner.job == me.job && owner.restarts < me.restarts) return true; // an earlier run of this job, which Slurm has ended
  return slurm_knows_not(owner);
}

std::string described(const ClaimOwner& owner) {
  if (owner.token.empty()) return "a run that left no name";
  const std::string pid = owner.processes.empty() ? "?" : std::to_string(owner.processes.front().pid);
  const std::string job = owner.job.empty() ? "" : fmt::format(" (Slurm job {}{}{})", owner.job, owner.step.empty() ? "" : ".", owner.step);
  return fmt::format("pid {} on {}{}, begun {}", pid, owner.host, job, owner.began);
}

} // namespace concord::io
