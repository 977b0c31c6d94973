#pragma once
/// Memory that processes of a node share. Local.

#include "concord/comm/node/node_array.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace concord::comm {

/// Memory without a name, which the processes of a node can map: nothing is left behind when they are killed, and a small /dev/shm does not
/// limit it. MPI_Win_allocate_shared does the same, but in Open MPI 4.1 hangs where its backing file finds no room.
class Mapped {
public:
  Mapped() = default;
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  ~Mapped() { release(); }

  void release() {
    if (begin_ != MAP_FAILED) munmap(begin_, bytes_);
    if (file_ >= 0) close(file_);
    begin_ = MAP_FAILED;
    file_ = -1;
  }

  /// Who made it, as which file: what another process needs to find it, and to know that it is the right one.
  using Ticket = std::array<Index, 4>;

  /// Zeros. False when there is no memory.
  bool make(std::size_t bytes, NodeArray::Taking taking, Ticket& ticket) {
    file_ = memfd_create("concord", MFD_CLOEXEC);
    if (file_ < 0) return false;
    const auto size = static_cast<off_t>(bytes);
    if (taking == NodeArray::Taking::as_written && ftruncate(file_, size) != 0) return false;
    if (taking == NodeArray::Taking::at_once) {
      errno = posix_fallocate(file_, 0, size); // returns its error
      if (errno != 0) return false;
    }
    struct stat facts {};
    if (fstat(file_, &facts) != 0) return false;
    ticket = {getpid(), file_, static_cast<Index>(facts.st_dev), static_cast<Index>(facts.st_ino)};
    return map(bytes);
  }

  /// Zeros for this process alone. False when there is no memory.
  bool make_alone(std::size_t bytes, NodeArray::Taking taking) {
    const int when = taking == NodeArray::Taking::at_once ? MAP_POPULATE : MAP_NORESERVE;
    bytes_ = bytes;
    begin_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | when, -1, 0);
    return begin_ != MAP_FAILED;
  }

  /// False where the maker cannot be seen from here (another container's processes).
  bool open(std::size_t bytes, const Ticket& ticket) {
    const auto path = fmt::format("/proc/{}/fd/{}", ticket[0], ticket[1]);
    struct stat facts {};
    file_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool same = file_ >= 0 && fstat(file_, &facts) == 0 && static_cast<Index>(facts.st_dev) == ticket[2] &&
                      static_cast<Index>(facts.st_ino) == ticket[3];
    return same && map(bytes);
  }

  float* values() const { return static_cast<float*>(begin_); }

private:
  bool map(std::size_t bytes) {
    bytes_ = bytes;
    begin_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    return begin_ != MAP_FAILED;
  }

  int file_ = -1;
  void* begin_ = MAP_FAILED;
  std::size_t bytes_ = 0;
};

} // namespace concord::comm
