#pragma once
/// The header of a .npy: a Python dictionary of three keys in text. Local.

#include "concord/io/npy/npy.hpp"

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

/// Bytes of an element as it is stored. @throws Error bad_data for a type that is not supported.
std::size_t npy_element_bytes(const NpyHeader& header, const std::string& name);

/// The array of `shape` whose elements lie at `data`, in the type, byte order and order of rows that the header tells.
/// @throws Error bad_data for a type that is not supported, or numbers that are too large.
NpyArray npy_elements(const NpyHeader& header, const std::vector<Index>& shape, const char* data, const std::string& name);

} // namespace concord::io
