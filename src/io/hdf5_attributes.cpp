#include "concord/core/fields.hpp"

#include "io/hdf5_errors.hpp"
#include <charconv>
#include <cstring>

namespace concord::io {
namespace {

/// HDF5 keeps attributes in the header of an object, of 64 KiB at most; longer texts become datasets here.
constexpr std::size_t longest_attribute = 60000;

std::string place_of_long(const std::string& name, const std::string& object) {
  return (object == "/" ? "" : object) + "/attributes/" + name;
}

bool attribute_exists(hid_t file, const std::string& name, const std::string& object, const std::filesystem::path& path) {
  const auto there = H5Aexists_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT);
  const bool of_nothing = there < 0 && H5Lexists(file, object.c_str(), H5P_DEFAULT) <= 0;
  require(there >= 0 || of_nothing, ExitCode::io, "cannot look for the attribute {} of {} in {}: its disk fails, or it is damaged", name,
          object, path.string());
  return there > 0;
}

} // namespace

void File::write_attribute(const std::string& name, const std::string& value, const std::string& object) {
  if (value.size() > longest_attribute) {
    write(place_of_long(name, object), std::vector<std::uint8_t>(value.begin(), value.end()));
    return;
  }
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), std::max<std::size_t>(1, value.size()));
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle target(H5Oopen(id_.get(), object.c_str(), H5P_DEFAULT), H5Oclose);
  const Handle attribute(H5Acreate2(target.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check(attribute && H5Awrite(attribute.get(), type.get(), value.empty() ? "" : value.data()) >= 0, ExitCode::io,
        "cannot write the attribute {} of {}", name, path_.string());
}

std::string File::attribute(const std::string& name, const std::string& object) const {
  if (!attribute_exists(id_.get(), name, object, path_) && has(place_of_long(name, object))) {
    const auto bytes = read<std::uint8_t>(place_of_long(name, object));
    return {bytes.begin(), bytes.end()};
  }
  const Handle attribute(H5Aopen_by_name(id_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check(static_cast<bool>(attribute), ExitCode::bad_data, "{} has no attribute {}", path_.string(), name);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  constexpr std::size_t longest = std::size_t{1} << 24;
  check(H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0 && H5Sget_simple_extent_npoints(space.get()) == 1 &&
            H5Tget_size(type.get()) <= longest,
        ExitCode::bad_data, "the attribute {} of {} is no fixed text", name, path_.string());
  std::string value(H5Tget_size(type.get()), '\0');
  check(H5Aread(attribute.get(), type.get(), value.data()) >= 0, ExitCode::io, "cannot read the attribute {} of {}", name, path_.string());
  value.resize(std::strlen(value.c_str()));
  return value;
}

bool File::has_attribute(const std::string& name, const std::string& object) const {
  return attribute_exists(id_.get(), name, object, path_) || has(place_of_long(name, object));
}

Index File::integer(const std::string& attribute_name) const {
  const std::string text = attribute(attribute_name);
  Index value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size(), ExitCode::bad_data, "{}: the attribute {} is no whole number: {}",
          path_.string(), attribute_name, text.substr(0, 40));
  return value;
}

std::vector<int> File::integers(const std::string& attribute_name) const {
  const std::string text = attribute(attribute_name);
  const Fields fields({{attribute_name, parse_json(text)}}, path_.string());
  require(fields.holds<std::vector<int>>(attribute_name), ExitCode::bad_data, "{}: the attribute {} is no list of whole numbers: {}",
          path_.string(), attribute_name, text.substr(0, 40));
  return fields.get<std::vector<int>>(attribute_name);
}

} // namespace concord::io
