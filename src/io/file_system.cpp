#include "io/file_system.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <sys/vfs.h>

namespace concord::io {
namespace {

/// f_type of statfs(2), and of file systems that Linux itself does not have.
const std::map<std::uint32_t, const char*> names{
    {0x0000EF53, "ext4"},    {0x58465342, "xfs"},    {0x9123683E, "btrfs"},    {0x01021994, "tmpfs"}, {0x858458F6, "ramfs"},
    {0x794C7630, "overlay"}, {0x2FC12FC1, "zfs"},    {0xF2F52010, "f2fs"},     {0x00006969, "nfs"},   {0x0BD00BD0, "lustre"},
    {0x47504653, "gpfs"},    {0x19830326, "beegfs"}, {0x00C36400, "ceph"},     {0x65735546, "fuse"},  {0xFF534D42, "cifs"},
    {0xFE534D42, "smb2"},    {0x0000517B, "smb"},    {0x01021997, "9p"},       {0x5346414F, "afs"},   {0x6B414653, "afs"},
    {0x01161970, "gfs2"},    {0x7461636F, "ocfs2"},  {0x20030528, "orangefs"}, {0xAAD7AAEA, "panfs"}, {0x73757245, "coda"}};

} // namespace

std::string file_system_of(const std::filesystem::path& path) {
  std::filesystem::path place = path;
  for (;;) {
    const std::string name = place.empty() ? "." : place.string();
    struct statfs facts {};
    if (::statfs(name.c_str(), &facts) == 0) {
      const auto type = static_cast<std::uint32_t>(facts.f_type);
      const auto known = names.find(type);
      return known != names.end() ? known->second : fmt::format("type {:#x}", type);
    }
    if ((errno != ENOENT && errno != ENOTDIR) || place.empty() || place == place.parent_path()) return "";
    place = place.parent_path();
  }
}

} // namespace concord::io
