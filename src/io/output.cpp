#include "concord/io/output.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include <cstdlib>
#include <sys/statvfs.h>

namespace concord::io {

namespace fs = std::filesystem;

namespace {

StageKey key_in(const File& file) {
  return {file.attribute("concord_stage"), nlohmann::json::parse(file.attribute("settings")),
          nlohmann::json::parse(file.attribute("inputs"))};
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

bool output_is_done(const comm::Communicator& comm, const fs::path& path, const StageKey& key, bool force) {
  const bool done = comm::agreed(comm, [&] { return fs::exists(path) && same_key(path, key, force); });
  comm.barrier(); // nobody removes the file while another rank still reads it
  comm::agree(comm, [&] {
    if (!done && comm.rank() == 0 && fs::exists(path)) fs::remove(path);
  });
  return done;
}

std::string stage_digest_of(const fs::path& path) {
  const File file = File::open(path);
  require(file.has_attribute("stage_digest"), ExitCode::bad_data, "{} is no file of a concord stage", path.string());
  return file.attribute("stage_digest");
}

void write_provenance(File& file, const StageKey& key) {
  const RunRecord& run = run_record();
  const char* job = std::getenv("SLURM_JOB_ID");
  file.write_attribute("concord_stage", key.stage);
  file.write_attribute("concord_schema_version", "1");
  file.write_attribute("stage_digest", key.digest());
  file.write_attribute("settings", key.settings.dump());
  file.write_attribute("inputs", key.inputs.dump());
  file.write_attribute("software", "concord " + version());
  file.write_attribute("git", git_state());
  file.write_attribute("command", run.command);
  file.write_attribute("study", run.study);
  file.write_attribute("ranks", std::to_string(run.ranks));
  file.write_attribute("hosts", run.hosts);
  file.write_attribute("libraries", run.libraries);
  file.write_attribute("seed", std::to_string(run.seed));
  file.write_attribute("date", utc_now());
  file.write_attribute("slurm_job_id", job != nullptr ? job : "");
}

void check_free_space(const fs::path& path, double bytes) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return; // the creation that follows says what is wrong
  const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  require(free >= bytes, ExitCode::io, "{} needs {} but {} has only {} free; free some, or choose another study.output", path.string(),
          human_bytes(bytes), folder.string(), human_bytes(free));
}

/// Large datasets begin at multiples of it, the usual stripe of parallel file systems.
constexpr Index stripe = Index{1} << 20;

Output::Output(const comm::Communicator& comm, fs::path path, const StageKey& key, Writers writers, bool force, double bytes,
               const std::function<void(File&)>& layout)
    : comm_(comm), path_(std::move(path)), partial_(path_.string() + ".partial"), journal_(path_.string() + ".partial.journal"),
      writers_(writers), digest_(key.digest()) {
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
    const auto journal = nlohmann::json::parse(read_text(journal_, "journal"), nullptr, false);
    if (journal.is_object() && journal.value("digest", "") == digest_) done = journal.value("units", Index{-1});
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
    File::create(partial_).close(); // a clear error for a folder that cannot be written, before MPI-IO is involved
  });
  if (writers_ == Writers::all || comm_.rank() == 0) {
    file_ = writers_ == Writers::all ? File::create_parallel(partial_, comm_) : File::create(partial_, stripe);
  }
  const auto lay_out = [&] {
    if (!file_) return;
    layout(*file_);
    write_provenance(*file_, key);
    file_->close();
  };
  if (writers_ == Writers::all)
    lay_out(); // collective inside: an error here ends the job
  else
    comm::agree(comm_, lay_out);
  file_.reset();
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0) return;
    sync_path(partial_);
    write_text_atomic(journal_, nlohmann::json{{"digest", digest_}, {"units", 0}}.dump());
  });
  open();
}

void Output::open() {
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
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0) return;
    sync_path(partial_);
    fs::rename(partial_, path_);
    fs::remove(journal_);
    sync_path(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
  });
}

} // namespace concord::io
