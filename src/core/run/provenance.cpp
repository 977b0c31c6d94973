#include "concord/core/run/provenance.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/text.hpp"

#include "concord_version.h"
#include <cstring>
#include <ctime>
#include <elf.h>
#include <link.h>
#include <vector>

namespace concord {

std::string version() {
  return CONCORD_VERSION;
}
std::string git_state() {
  return CONCORD_GIT;
}

namespace {

/// The note that ld writes with --build-id, out of a loaded segment of notes.
std::string id_in_notes(const char* begin, std::size_t size) {
  const auto padded = [](std::size_t bytes) { return (bytes + 3) / 4 * 4; };
  for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
    ElfW(Nhdr) note{};
    std::memcpy(&note, begin + at, sizeof note);
    const char* id = begin + at + sizeof note + padded(note.n_namesz);
    at += sizeof note + padded(note.n_namesz) + padded(note.n_descsz);
    if (note.n_type != NT_GNU_BUILD_ID || at > size) continue;
    std::string hex;
    for (std::size_t i = 0; i < note.n_descsz; ++i) hex += fmt::format("{:02x}", static_cast<unsigned char>(id[i]));
    return hex;
  }
  return "";
}

} // namespace

std::string build_id() {
  std::string id;
  ::dl_iterate_phdr(
      [](dl_phdr_info* program, std::size_t, void* out) {
        for (int s = 0; s < program->dlpi_phnum; ++s) {
          const auto& segment = program->dlpi_phdr[s];
          if (segment.p_type != PT_NOTE) continue;
          const auto found = id_in_notes(reinterpret_cast<const char*>(program->dlpi_addr + segment.p_vaddr), segment.p_memsz);
          if (!found.empty()) *static_cast<std::string*>(out) = found;
        }
        return 1; // the program itself comes first
      },
      &id);
  return id;
}

RunRecord& run_record() {
  static RunRecord record;
  return record;
}

std::string StageKey::digest() const {
  return digest_of(json_text({{"stage", stage}, {"settings", settings}, {"inputs", inputs}}));
}

namespace {

/// A name of a JSON pointer, "/sae~1layer_002", as people read it.
std::string readable(const std::string& pointer) {
  std::string text;
  for (std::size_t i = 1; i < pointer.size(); ++i)
    if (pointer[i] == '~' && i + 1 < pointer.size())
      text += pointer[++i] == '1' ? '/' : '~';
    else
      text += pointer[i];
  return text;
}

void list_differences(const nlohmann::json& old_values, const nlohmann::json& new_values, const std::string& prefix,
                      std::vector<std::string>& out) {
  const auto flat_old = old_values.flatten();
  const auto flat_new = new_values.flatten();
  for (const auto& [name, value] : flat_new.items())
    if (!flat_old.contains(name))
      out.push_back(prefix + readable(name) + " is new");
    else if (flat_old[name] != value)
      out.push_back(prefix + readable(name) + ": " + json_text(flat_old[name]) + " -> " + json_text(value));
  for (const auto& [name, value] : flat_old.items())
    if (!flat_new.contains(name)) out.push_back(prefix + readable(name) + " is gone");
}

} // namespace

std::string difference(const StageKey& old_key, const StageKey& new_key) {
  std::vector<std::string> parts;
  list_differences(old_key.settings, new_key.settings, "setting ", parts);
  list_differences(old_key.inputs, new_key.inputs, "input ", parts);
  return parts.empty() ? "made by another version" : join(parts, "; ");
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

} // namespace concord
