#include "concord/io/output.hpp"

#include "concord/comm/await_file.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/io/contents.hpp"
#include "concord/io/dataset_bytes.hpp"

#include "io/file_system.hpp"
#include <cstdlib>
#include <sys/statvfs.h>

namespace concord::io {

namespace fs = std::filesystem;

namespace {

StageKey key_in(const File& file) {
  const auto object = [&](const char* name) {
    auto json = parse_json(file.attribute(name));
    require(json.is_object(), ExitCode::bad_data, "{}: its attribute {} is no JSON object", file.path().string(), name);
    return json;
  };
  return {file.attribute("concord_stage"), object("settings"), object("inputs")};
}

fs::path partial_of(const fs::path& path) {
  return path.string() + ".partial";
}

fs::path journal_of(const fs::path& path) {
  return path.string() + ".partial.journal";
}

/// Whether the file was made with `key`; throws unless it was or `force` says to replace it.
bool same_key(const fs::path& path, const StageKey& key, bool force) {
  const File file = File::open(path);
  if (!file.has_attribute("stage_digest"))
    fail(ExitCode::config, "{} exists but was not made by concord; move it away or choose another output", path.string());
  if (file.attribute("stage_digest") == key.digest()) return true;
  if (force) return false;
  fail(ExitCode::config, "{} was made with other settings or inputs ({}); choose another study.output, or give --force to replace it",
       path.string(), difference(key_in(file), key));
}

} // namespace

void require_same_key(const comm::Communicator& comm, const StageKey& key) {
  comm::require_same(comm, json_text({{"settings", key.settings}, {"inputs", key.inputs}}), [&](const std::string& of_root) {
    const auto root = nlohmann::json::parse(of_root);
    return fmt::format("{} has other settings or inputs here than on rank 0 ({}); all ranks must see the same files", key.stage,
                       difference({key.stage, root["settings"], root["inputs"]}, key));
  });
}

bool output_is_done(const comm::Communicator& comm, const fs::path& path, const StageKey& key, bool force) {
  require_same_key(comm, key);
  return comm::decided(comm, [&] {
    if (!fs::exists(path)) return false;
    if (same_key(path, key, force)) return true;
    fs::remove(path);
    return false;
  });
}

std::optional<Claim> claim_unless_done(const comm::Communicator& comm, const fs::path& path, const StageKey& key, bool force) {
  require_same_key(comm, key);
  const auto done = [&] { return fs::exists(path) && same_key(path, key, force); };
  const auto accept = [&](bool result) {
    if (run_record().accepted) run_record().accepted();
    return result;
  };
  if (comm::decided(comm, [&] { return done() && accept(true); })) return std::nullopt;
  std::optional<Claim> claim(std::in_place, comm, path);
  // Another run may have made it, or begun it with other settings, since.
  const bool done_meanwhile = comm::decided(comm, [&] {
    if (done()) return accept(true);
    const fs::path partial = partial_of(path);
    if (fs::exists(partial) && fs::exists(journal_of(path))) static_cast<void>(same_key(partial, key, force));
    fs::remove(path);
    return accept(false);
  });
  if (done_meanwhile) claim.reset();
  return claim;
}

std::string stage_digest_of(const fs::path& path) {
  const File file = File::open(path);
  require(file.has_attribute("stage_digest"), ExitCode::bad_data, "{} is no file of a concord stage", path.string());
  return file.attribute("stage_digest");
}

std::vector<std::string> provenance(const StageKey& key, const fs::path& path) {
  const RunRecord& run = run_record();
  const char* job = std::getenv("SLURM_JOB_ID");
  const std::vector<std::pair<std::string, std::string>> facts{{"concord_stage", key.stage},
                                                               {"concord_schema_version", "1"},
                                                               {"stage_digest", key.digest()},
                                                               {"settings", json_text(key.settings)},
                                                               {"inputs", json_text(key.inputs)},
                                                               {"software", "concord " + version()},
                                                               {"git", git_state()},
                                                               {"command", run.command},
                                                               {"study", run.study},
                                                               {"ranks", std::to_string(run.ranks)},
                                                               {"hosts", run.hosts},
                                                               {"file_system", file_system_of(path)},
                                                               {"libraries", run.libraries},
                                                               {"seed", std::to_string(run.seed)},
                                                               {"date", utc_now()},
                                                               {"slurm_job_id", job != nullptr ? job : ""}};
  std::vector<std::string> flat;
  for (const auto& [name, value] : facts) flat.insert(flat.end(), {name, value});
  return flat;
}

void check_free_space(const fs::path& path, double bytes) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return; // the creation that follows says what is wrong
  const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  require(free >= bytes, ExitCode::io, "{} needs {} but {} has only {} free; free some, or choose another study.output", path.string(),
          human_bytes(bytes), folder.string(), human_bytes(free));
}

Output::Output(const comm::Communicator& comm, fs::path path, const StageKey& key, Writers writers, bool force, double bytes,
               const std::function<void(File&)>& layout)
    : comm_(comm), path_(std::move(path)), partial_(partial_of(path_)), journal_(journal_of(path_)), writers_(writers),
      digest_(key.digest()) {
  comm::agree(comm_, [&] {
    if (comm_.rank() == 0) make_folder(path_.parent_path());
  });
  if (resume(key, force)) {
    log_info("{}: continuing {} behind unit {}", key.stage, partial_.string(), units_done_);
    open();
  } else {
    make(key, bytes, layout);
  }
}

bool Output::resume(const StageKey& key, bool force) {
  Index done = -1;
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0 || !fs::exists(partial_) || !fs::exists(journal_)) return;
    if (!same_key(partial_, key, force)) return;
    const Fields journal(parse_json(read_text(journal_, "journal")), journal_.string()); // a damaged one: all is made anew
    if (journal.holds<std::string>("digest") && journal.holds<Index>("units") && journal.get<std::string>("digest") == digest_)
      done = journal.get<Index>("units");
  });
  comm::broadcast_bytes(comm_, &done, sizeof done);
  units_done_ = std::max<Index>(done, 0);
  return done >= 0;
}

void Output::make(const StageKey& key, double bytes, const std::function<void(File&)>& layout) {
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0) return;
    fs::remove(journal_);
    fs::remove(partial_);
    check_free_space(path_, bytes);
    // By one rank alone, also for MPI-IO: where ranks write HDF5's own structures together and one of them fails, the library waits for
    // ever.
    File file = File::create(partial_, stripe);
    layout(file);
    const auto facts = provenance(key, path_);
    for (std::size_t i = 0; i < facts.size(); i += 2) file.write_attribute(facts[i], facts[i + 1]);
    file.close();
    sync_path(partial_);
    write_text_atomic(journal_, nlohmann::json{{"digest", digest_}, {"units", 0}}.dump());
  });
  open();
}

void Output::open() {
  comm::await_file(comm_, partial_);
  if (writers_ == Writers::all)
    file_ = File::open_parallel(partial_, comm_);
  else
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0 && writers_ == Writers::root) file_ = File::open(partial_, File::Mode::write);
    });
}

void Output::commit(Index units) {
  if (writers_ == Writers::all) file_->flush();
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0) return;
    if (writers_ == Writers::root) file_->flush();
    sync_path(partial_);
    write_text_atomic(journal_, nlohmann::json{{"digest", digest_}, {"units", units}}.dump());
  });
  units_done_ = units;
}

void Output::finish() {
  if (file_) file_->close();
  file_.reset();
  comm_.barrier();
  write_content_digests(comm_, partial_);
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0) return;
    sync_path(partial_);
    fs::rename(partial_, path_);
    fs::remove(journal_);
    sync_path(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
  });
  comm::await_file(comm_, path_); // the next stage opens it on every rank
}

} // namespace concord::io
