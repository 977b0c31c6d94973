#pragma once
/// Element types between HDF5 and concord. Local.

#include "concord/io/hdf5.hpp"

#include <string>

namespace concord::io {

Handle hdf5_type(Dtype dtype);

/// @throws Error bad_data naming the dataset where concord does not read the type.
Dtype dtype_of_hdf5(hid_t type, const std::string& name);

} // namespace concord::io
