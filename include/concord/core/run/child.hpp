#pragma once
/// Programs that concord starts: its own scripts. Local.

#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace concord {

/// The Python that runs concord's scripts: `wish`, else $CONCORD_PYTHON, else concord's own .venv, else python3.
std::string python_for(const std::string& wish);

/// A script of the source tree, or the one installed beside this program, wherever the tree was moved to. @throws Error unavailable.
std::filesystem::path script_path(const std::string& name);

/// A program in a process group of its own: signals that ask this job to stop do not reach it. It is killed when the object goes.
class Child {
public:
  /// Without the variables by which launchers of Open MPI and MPICH would make it join this job. `stream`, where there is one, becomes its
  /// standard input and output. @throws Error unavailable.
  explicit Child(std::vector<std::string> words, int stream = -1);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  bool ended();
  /// Exit status, or 128 and the signal that ended it; only when it has ended.
  int status() const { return status_; }

private:
  pid_t pid_ = 0;
  int status_ = -1;
};

} // namespace concord
