#include "concord/corpus/text/documents.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <ostream>
#include <unistd.h>

namespace concord::corpus {

namespace {

constexpr std::string_view mark = "\xEF\xBB\xBF";
constexpr std::string_view blanks = " \t\r";
constexpr Index block = 1 << 20;

/// A file read at positions.
class Bytes {
public:
  explicit Bytes(const TextFile& file) : file_(file), descriptor_(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC)) {
    require(descriptor_ >= 0, ExitCode::input_missing, "cannot open the text {}: {}", file.path.string(), std::strerror(errno));
  }
  ~Bytes() { ::close(descriptor_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  /// Appends bytes [begin, end) to `text`.
  void append(Index begin, Index end, std::string& text) const {
    std::size_t at = text.size();
    text.resize(at + static_cast<std::size_t>(end - begin));
    while (begin < end) {
      const auto got = ::pread(descriptor_, text.data() + at, static_cast<std::size_t>(end - begin), begin);
      if (got < 0 && errno == EINTR) continue;
      require(got >= 0, ExitCode::io, "cannot read the text {}: {}", file_.path.string(), std::strerror(errno));
      require(got > 0, ExitCode::io, "the text {} became shorter while it was read; run again", file_.path.string());
      begin += got;
      at += static_cast<std::size_t>(got);
    }
  }

  /// Whether nothing but blanks lies between the last line end before `at` and `at`.
  bool blank_before(Index at, Index first) const {
    std::string part;
    while (at > first) {
      const Index begin = std::max(first, at - 4096);
      part.clear();
      append(begin, at, part);
      const auto last = part.find_last_not_of(blanks);
      if (last != std::string::npos) return part[last] == '\n';
      at = begin;
    }
    return true;
  }

private:
  const TextFile& file_;
  int descriptor_;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(blanks) == std::string_view::npos;
}

/// Cuts a part of a file at blank lines: a document begins at the file's first byte or behind a blank line, and is the part's when that
/// first byte, or the end of that line, lies in the part.
class BlankLineCut {
public:
  BlankLineCut(const Bytes& bytes, Index first, Index size, const FilePart& part, std::string& text)
      : bytes_(bytes), text_(text), base_(std::max(part.begin, first)), size_(size), end_(std::min(part.end, size)),
        open_(part.begin == 0 ? first : -1), blank_so_far_(bytes.blank_before(base_, first)) {
    text_.clear();
    have_ = base_;
  }

  std::vector<Document> run() {
    Index line = base_;
    while (open_ >= 0 || line < end_) {
      const Index stop = line_end(line);
      if (stop < 0) break; // the rest of this line, and what begins behind it, is the next part's
      if (is_blank(view(line, stop)) && (line > base_ || blank_so_far_)) {
        close(line);
        open_ = stop < end_ ? stop + 1 : -1;
      }
      line = stop + 1;
      if (line > size_) break;
    }
    close(size_);
    return std::move(documents_);
  }

private:
  std::string_view view(Index begin, Index end) const {
    return std::string_view(text_).substr(static_cast<std::size_t>(begin - base_), static_cast<std::size_t>(end - begin));
  }

  /// Where the line that begins at `line` ends: its line end or the end of the file; -1 when no document of this part needs to know.
  Index line_end(Index line) {
    auto searched = static_cast<std::size_t>(line - base_);
    while (true) {
      const auto found = text_.find('\n', searched);
      if (found != std::string::npos) return base_ + static_cast<Index>(found);
      if (have_ == size_) return size_;
      if (open_ < 0 && have_ >= end_) return -1;
      searched = text_.size();
      const Index next = std::min(size_, std::max(end_, have_ + block));
      bytes_.append(have_, next, text_);
      have_ = next;
    }
  }

  void close(Index end) {
    if (open_ >= 0 && open_ < end && view(open_, end).find_first_not_of(" \t\r\n") != std::string_view::npos)
      documents_.push_back({open_, end});
    open_ = -1;
  }

  const Bytes& bytes_;
  std::string& text_;
  Index base_;
  Index have_ = 0;
  Index size_;
  Index end_;
  Index open_;
  bool blank_so_far_;
  std::vector<Document> documents_;
};

/// Bytes of a byte order mark at the file's start.
Index mark_size(const Bytes& bytes, Index size) {
  const auto length = static_cast<Index>(mark.size());
  if (size < length) return 0;
  std::string start;
  bytes.append(0, length, start);
  return start == mark ? length : 0;
}

} // namespace

bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned c = byte(i);
    const std::size_t extra = c < 0x80 ? 0 : c >= 0xC2 && c < 0xE0 ? 1 : c >= 0xE0 && c < 0xF0 ? 2 : c >= 0xF0 && c < 0xF5 ? 3 : 4;
    if (extra == 4 || i + extra >= text.size()) return false;
    for (std::size_t k = 1; k <= extra; ++k)
      if ((byte(i + k) & 0xC0U) != 0x80U) return false;
    // The second byte tells overlong forms (E0, F0), surrogates (ED) and what lies beyond U+10FFFF (F4).
    if ((c == 0xE0 && byte(i + 1) < 0xA0) || (c == 0xED && byte(i + 1) > 0x9F) || (c == 0xF0 && byte(i + 1) < 0x90) ||
        (c == 0xF4 && byte(i + 1) > 0x8F))
      return false;
    i += extra + 1;
  }
  return true;
}

DocumentReader::DocumentReader(std::vector<TextFile> files, DocumentEnd at)
    : files_(std::move(files)), starts_{0}, whole_files_(at == DocumentEnd::file) {
  for (const auto& file : files_) starts_.push_back(starts_.back() + file.size + 1);
}

std::vector<FilePart> DocumentReader::parts(Index begin, Index end) const {
  std::vector<FilePart> parts;
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), begin);
  for (auto f = static_cast<std::size_t>(after - starts_.begin()) - 1; f < files_.size() && starts_[f] < end; ++f)
    parts.push_back({f, std::max<Index>(0, begin - starts_[f]), std::min(end, starts_[f + 1]) - starts_[f]});
  return parts;
}

std::vector<Document> DocumentReader::read(const FilePart& part, std::string& text, Index& text_begin) const {
  const TextFile& file = files_[part.file];
  const Bytes bytes(file);
  const Index first = mark_size(bytes, file.size);
  text.clear();
  text_begin = std::max(part.begin, first);
  std::vector<Document> documents;
  if (!whole_files_) {
    documents = BlankLineCut(bytes, first, file.size, part, text).run();
  } else if (part.begin == 0) {
    bytes.append(first, file.size, text);
    documents.push_back({first, file.size});
  }
  for (const auto& document : documents)
    require(is_utf8(std::string_view(text).substr(static_cast<std::size_t>(document.begin - text_begin),
                                                  static_cast<std::size_t>(document.end - document.begin))),
            ExitCode::bad_data, "{} is not valid UTF-8; convert it with iconv", file.path.string());
  return documents;
}

void print_documents(std::ostream& out, const std::vector<std::string>& paths, DocumentEnd at) {
  constexpr Index piece = Index{4} << 20;
  const DocumentReader reader(find_text_files(paths).files, at);
  std::string text;
  Index text_begin = 0;
  for (Index begin = 0; begin < reader.length(); begin += piece)
    for (const auto& part : reader.parts(begin, std::min(begin + piece, reader.length())))
      for (const auto& document : reader.read(part, text, text_begin))
        out << document.begin << ' ' << document.end << ' ' << reader.files()[part.file].path.native() << '\0';
  out.flush();
  require(out.good(), ExitCode::io, "cannot write the documents");
}

} // namespace concord::corpus
