#pragma once
// Digests of what is tokenized. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/corpus/text/text_files.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::corpus {

/// The digest of all files' digests, shared by ranks. @throws Error stopped.
std::string text_digest(const comm::Communicator& comm, const std::vector<TextFile>& files);

/// digest_of_file() of token ids made elsewhere, which rank 0 reads for all. @throws Error input_missing, io, stopped; agreed.
std::string digest_of_ids(const comm::Communicator& comm, const std::filesystem::path& path);

} // namespace concord::corpus
