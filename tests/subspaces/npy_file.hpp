#pragma once
// Rows of an .npy, for tests that read them.
#include "concord/comm/agree.hpp"

#include <fmt/format.h>

#include "support/support.hpp"
#include <fstream>
#include <vector>

namespace concord::test {

/// An .npy of float32 that rank 0 writes, in a folder of its own. Collective.
inline std::string npy_of(const std::string& name, const std::vector<float>& values, Index cols) {
  const auto path = empty_folder("npy_" + name) / "rows.npy";
  comm::agree(world(), [&] {
    if (world().rank() != 0) return;
    std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
                                     values.size() / static_cast<std::size_t>(cols), cols);
    header.resize(117, ' ');
    header += '\n';
    std::ofstream out(path, std::ios::binary);
    out.write("\x93NUMPY\x01\x00", 8);
    out.put(static_cast<char>(header.size()));
    out.put('\0');
    out << header;
    out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(4 * values.size()));
  });
  world().barrier();
  return path.string();
}

} // namespace concord::test
