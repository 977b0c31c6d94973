#pragma once
/// The header of a .npy: a Python dictionary of three keys in text. Local.

#include "concord/core/index.hpp"

#include <string>
#include <vector>

namespace concord::io {

struct NpyHeader {
  std::string descr; ///< "<f4": byte order, kind and bytes of an element
  bool fortran = false;
  std::vector<Index> shape;
  Index count = 0;            ///< of elements
  std::size_t data_begin = 0; ///< byte of the file
};

/// @throws Error bad_data naming `name`: no header, keys missing, twice or unknown, negative sizes, more elements than 2^63.
NpyHeader parse_npy_header(const std::vector<char>& bytes, const std::string& name);

} // namespace concord::io
