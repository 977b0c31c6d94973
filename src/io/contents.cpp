#include "concord/io/contents.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/io/hdf5.hpp"

#include <hdf5.h>

#include "hdf5_refused.hpp"
#include <algorithm>

namespace concord::io {
namespace {

constexpr const char* attribute_name = "content";
constexpr std::size_t digest_length = 32;

/// Names of all datasets of the file itself, sorted.
std::vector<std::string> datasets_of(const std::filesystem::path& path) {
  silence_hdf5();
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file) refuse_file(path, ExitCode::io, fmt::format("cannot open {} again", path.string()));
  std::vector<std::string> names;
  const auto visited = H5Lvisit(
      file.get(), H5_INDEX_NAME, H5_ITER_INC,
      [](hid_t group, const char* name, const H5L_info_t* link, void* out) -> herr_t {
        if (link->type != H5L_TYPE_HARD) return 0;
        const Handle object(H5Oopen(group, name, H5P_DEFAULT), H5Oclose);
        if (!object) return -1;
        if (H5Iget_type(object.get()) == H5I_DATASET) static_cast<std::vector<std::string>*>(out)->push_back("/" + std::string(name));
        return 0;
      },
      &names);
  if (visited < 0) refuse_file(path, ExitCode::io, fmt::format("cannot list the datasets of {}", path.string()));
  const auto checksummed = [&](const std::string& name) { // /layer_003/x beside /layer_003/checksums
    return name.ends_with("/x") && std::find(names.begin(), names.end(), name.substr(0, name.size() - 1) + "checksums") != names.end();
  };
  std::erase_if(names, checksummed);
  std::sort(names.begin(), names.end());
  return names;
}

/// Those of a run that was killed between here and its end.
void remove_digests(const std::filesystem::path& path, const std::vector<std::string>& names) {
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  if (!file) refuse_file(path, ExitCode::io, fmt::format("cannot open {} for writing", path.string()));
  for (const auto& name : names) {
    const auto there = H5Aexists_by_name(file.get(), name.c_str(), attribute_name, H5P_DEFAULT);
    if (there < 0 || (there > 0 && H5Adelete_by_name(file.get(), name.c_str(), attribute_name, H5P_DEFAULT) < 0))
      refuse_file(path, ExitCode::io, fmt::format("cannot remove the attribute {} of {} in {}", attribute_name, name, path.string()));
  }
}

/// "" where `stop` wants an end before the last row.
std::string content_of(const File& file, const std::string& name, const comm::StopWithin& stop) {
  const auto dataset = file.dataset(name);
  const Index row_bytes = std::max<Index>(1, dataset.row_bytes());
  const Index step = std::max<Index>(1, (Index{1} << 24) / row_bytes);
  Digest digest;
  std::vector<char> bytes;
  for (Index row = 0; row < dataset.rows(); row += step) {
    if (stop.wanted_here()) return "";
    const Index count = std::min(step, dataset.rows() - row);
    bytes.resize(static_cast<std::size_t>(count * row_bytes));
    dataset.read_rows(row, count, bytes.data());
    digest.add(bytes.data(), bytes.size());
  }
  return digest.hex();
}

} // namespace

void write_content_digests(const comm::Communicator& comm, const std::filesystem::path& path) {
  const comm::StopWithin stop;
  std::string mine; // digests of this rank's datasets behind one another
  comm::agree(comm, [&] {
    const auto names = datasets_of(path);
    const File file = File::open(path);
    for (std::size_t i = static_cast<std::size_t>(comm.rank()); i < names.size(); i += static_cast<std::size_t>(comm.size()))
      mine += content_of(file, names[i], stop);
  });
  stop.throw_if_wanted(comm, ("writing " + path.string()).c_str());
  std::vector<std::string> of_ranks;
  comm::gather_each(comm, mine, [&](int, std::vector<char>& bytes) { of_ranks.emplace_back(bytes.begin(), bytes.end()); });
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    const auto names = datasets_of(path);
    remove_digests(path, names);
    File file = File::open(path, File::Mode::write);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto rank = i % static_cast<std::size_t>(comm.size());
      file.write_attribute(attribute_name,
                           of_ranks.at(rank).substr(i / static_cast<std::size_t>(comm.size()) * digest_length, digest_length), names[i]);
    }
    file.close();
  });
}

ContentCheck check_content_digests(const std::filesystem::path& path, const comm::StopWithin& stop) {
  const File file = File::open(path);
  ContentCheck check;
  for (const auto& name : datasets_of(path)) {
    if (!file.has_attribute(attribute_name, name)) continue;
    ++check.digested;
    const std::string content = content_of(file, name, stop);
    if (stop.wanted_here()) return {};
    if (file.attribute(attribute_name, name) != content) check.changed.push_back(name);
  }
  return check;
}

} // namespace concord::io
