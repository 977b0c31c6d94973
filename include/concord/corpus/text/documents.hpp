#pragma once
/// The documents of a corpus, cut where they lie in the files. Local.
///
/// The corpus is one axis of bytes, file behind file (each with one place more, so that an empty file has one, too). A piece of that axis
/// owns the documents that begin in it; so pieces of equal size share the work, whatever the files are.

#include "concord/corpus/settings.hpp"
#include "concord/corpus/text/text_files.hpp"

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace concord::corpus {

/// Whether a text is well-formed UTF-8 (RFC 3629): no overlong form, no surrogate, nothing beyond U+10FFFF.
bool is_utf8(std::string_view text);

/// A document of a file: bytes [begin, end).
struct Document {
  Index begin = 0;
  Index end = 0;
};

/// Part of a file; its documents are those that begin in [begin, end).
struct FilePart {
  std::size_t file = 0;
  Index begin = 0;
  Index end = 0;
};

class DocumentReader {
public:
  DocumentReader(std::vector<TextFile> files, DocumentEnd at);
  const std::vector<TextFile>& files() const { return files_; }
  /// Length of the axis.
  Index length() const { return starts_.back(); }
  /// The parts of files on [begin, end) of the axis.
  std::vector<FilePart> parts(Index begin, Index end) const;
  /// The documents of a part in order; `text` is the file from `text_begin` on, as far as they reach. A byte order mark belongs to none.
  /// @throws Error bad_data (not UTF-8), input_missing or io.
  std::vector<Document> read(const FilePart& part, std::string& text, Index& text_begin) const;

private:
  std::vector<TextFile> files_;
  std::vector<Index> starts_; ///< of each file on the axis, and the end
  bool whole_files_;
};

/// Writes "BEGIN END PATH" of every document, each ended by a NUL: for tokenizers other than concord's own, which then cut as it does.
/// @throws Error as find_text_files() and DocumentReader.
void print_documents(std::ostream& out, const std::vector<std::string>& paths, DocumentEnd at);

} // namespace concord::corpus
