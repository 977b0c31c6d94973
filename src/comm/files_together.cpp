#include "concord/comm/files_together.hpp"

#include "concord/comm/session.hpp"
#include "concord/core/text.hpp"

#include <mpi.h>

#include "comm/refused_call.hpp"
#include <algorithm>
#include <array>
#include <optional>

namespace concord::comm {
namespace {

std::optional<std::string>& failing() {
  static std::optional<std::string> error;
  return error;
}

} // namespace

FilesTogether::FilesTogether(std::string error) {
  failing() = std::move(error);
}

FilesTogether::~FilesTogether() {
  failing().reset();
}

namespace {

[[noreturn]] void refuse(const std::string& reason) {
  end_job(ExitCode::io, fmt::format("{}: {}", *failing(), reason));
}

/// Open MPI may say that a write went well of which nothing arrived.
int unless_short(int code, int count, MPI_Datatype type, const MPI_Status* status) {
  if (unless_refused(code) != MPI_SUCCESS || !failing() || status == MPI_STATUS_IGNORE) return code;
  MPI_Count bytes = 0;
  MPI_Count written = 0;
  MPI_Type_size_x(type, &bytes);
  MPI_Get_elements_x(status, MPI_BYTE, &written);
  bytes *= count;
  if (written != bytes) refuse(fmt::format("{} of {} bytes were written", std::max<MPI_Count>(0, written), bytes));
  return code;
}

} // namespace

int unless_refused(int code) {
  if (code == MPI_SUCCESS || !failing()) return code;
  std::array<char, MPI_MAX_ERROR_STRING> reason{};
  int length = 0;
  MPI_Error_string(code, reason.data(), &length);
  refuse(in_one_line(reason.data()));
}

} // namespace concord::comm

extern "C" int MPI_File_write_at(MPI_File file, MPI_Offset offset, const void* data, int count, MPI_Datatype type, MPI_Status* status) {
  return concord::comm::unless_short(PMPI_File_write_at(file, offset, data, count, type, status), count, type, status);
}

extern "C" int MPI_File_read_at(MPI_File file, MPI_Offset offset, void* data, int count, MPI_Datatype type, MPI_Status* status) {
  return concord::comm::unless_refused(PMPI_File_read_at(file, offset, data, count, type, status));
}
