#pragma once
// What `verify` asks of the files of several stages. Local. @throws Error bad_data, or stopped.

#include "concord/comm/stop.hpp"
#include "concord/io/hdf5.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::app {

/// Throws where a stop is wanted: the rank then comes to throw_if_wanted().
void look(const comm::StopWithin& stop);
/// Every value of a dataset is undefined or in this range.
void check_between(const io::File& file, const std::string& name, double least, double most);
/// The same of a dataset with these sides; -1 stands for any.
void check_between(const io::File& file, const std::string& name, const std::vector<Index>& dims, double least, double most);
/// No dataset holds other values than were written. Returns a warning, or nothing.
std::string check_contents(const std::filesystem::path& path, const comm::StopWithin& stop);

} // namespace concord::app
