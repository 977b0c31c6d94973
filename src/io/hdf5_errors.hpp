#pragma once
/// Calls of HDF5 and the reason where one fails. Local.

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"

#include <string>

namespace concord::io {

inline herr_t first_description(unsigned /*n*/, const H5E_error2_t* error, void* out) {
  auto& text = *static_cast<std::string*>(out);
  if (text.empty() && error->desc != nullptr) text = error->desc;
  return 0;
}

/// The innermost message of HDF5's error stack.
inline std::string hdf5_reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_description, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "HDF5 gives no reason" : in_one_line(text);
}

inline void silence_hdf5() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

template <typename... Args>
void check(bool ok, ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw Error(code, fmt::format(format, std::forward<Args>(args)...) + ": " + hdf5_reason());
}

} // namespace concord::io
