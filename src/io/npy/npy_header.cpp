#include "io/npy/npy_header.hpp"

#include "concord/core/error.hpp"

#include <charconv>
#include <cstdint>
#include <cstring>
#include <set>
#include <string_view>

namespace concord::io {
namespace {

/// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } from left to right, each character once.
class HeaderText {
public:
  HeaderText(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  void parse(NpyHeader& header) {
    expect('{');
    std::set<std::string> seen;
    while (!take('}')) {
      const std::string key = quoted();
      if (!seen.insert(key).second) wrong("a key twice");
      expect(':');
      if (key == "descr")
        header.descr = type();
      else if (key == "fortran_order")
        header.fortran = truth();
      else if (key == "shape")
        header.shape = sizes();
      else
        wrong("an unknown key");
      if (take('}')) break;
      expect(',');
    }
    if (seen.size() != 3) wrong("too few keys");
    skip_blanks();
    if (!rest_.empty()) wrong("more behind its end");
  }

private:
  [[noreturn]] void wrong(const char* what) const {
    fail(ExitCode::bad_data, "{}: the header of the array has {}; save it again with numpy.save", name_, what);
  }
  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n' || rest_.front() == '\t')) rest_.remove_prefix(1);
  }
  bool take(char c) {
    skip_blanks();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!take(c)) wrong("another form than numpy writes");
  }
  std::string quoted() {
    skip_blanks();
    const char mark = rest_.empty() ? ' ' : rest_.front();
    if (mark != '\'' && mark != '"') wrong("another form than numpy writes");
    const std::size_t end = rest_.find(mark, 1);
    if (end == std::string_view::npos) wrong("a text without an end");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::string type() {
    skip_blanks();
    if (!rest_.empty() && rest_.front() == '[') fail(ExitCode::bad_data, "{}: structured arrays are not supported", name_);
    return quoted();
  }
  bool truth() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair{std::string_view("True"), true}, std::pair{std::string_view("False"), false}})
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return value;
      }
    wrong("a fortran_order that is neither True nor False");
  }
  std::vector<Index> sizes() {
    std::vector<Index> shape;
    expect('(');
    while (!take(')')) {
      skip_blanks();
      Index size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0) wrong("a size that is no whole number from 0 on");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      if (!rest_.empty() && rest_.front() == 'L') rest_.remove_prefix(1); // as Python 2 wrote it
      shape.push_back(size);
      if (take(')')) break;
      expect(',');
    }
    return shape;
  }

  std::string_view rest_;
  const std::string& name_;
};

} // namespace

NpyHeader parse_npy_header(const std::vector<char>& bytes, const std::string& name) {
  constexpr const char* magic = "\x93NUMPY";
  require(bytes.size() >= 10 && std::memcmp(bytes.data(), magic, 6) == 0, ExitCode::bad_data, "{} is no NumPy array (.npy)", name);
  const int major = static_cast<unsigned char>(bytes[6]);
  require(major >= 1 && major <= 3, ExitCode::bad_data, "{}: version {} of .npy is not supported", name, major);
  const std::size_t begin = major >= 2 ? 12 : 10;
  std::uint32_t length = 0;
  require(bytes.size() >= begin, ExitCode::bad_data, "{} is truncated inside its header", name);
  std::memcpy(&length, bytes.data() + 8, major >= 2 ? 4 : 2);
  require(length <= bytes.size() - begin, ExitCode::bad_data, "{} is truncated inside its header", name);
  NpyHeader header;
  header.data_begin = begin + length;
  HeaderText({bytes.data() + begin, length}, name).parse(header);
  header.count = 1;
  for (const Index size : header.shape)
    require(!__builtin_mul_overflow(header.count, size, &header.count), ExitCode::bad_data, "{}: its shape has more elements than 2^63",
            name);
  return header;
}

} // namespace concord::io
