#include "corpus/tokenizers/worker_tokenizer.hpp"

#include "concord/core/error.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace concord::corpus {

namespace fs = std::filesystem;

WorkerTokenizer::Socket::~Socket() {
  ::close(descriptor);
}

int WorkerTokenizer::connected(const std::string& bos) {
  require(fs::exists(path_), ExitCode::input_missing, "there is no tokenizer {}", path_.string());
  int ends[2] = {};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, ExitCode::unavailable, "cannot talk to a tokenizer: {}",
          std::strerror(errno));
  const Socket of_worker(ends[1]);
  try {
    // -I: neither PYTHONPATH nor the folder of the script or of the user reaches it.
    worker_.emplace(std::vector<std::string>{python_for(""), "-I", script_path("tokenizer_worker.py").string(), path_.string(), bos},
                    ends[1]);
  } catch (...) {
    ::close(ends[0]);
    throw;
  }
  return ends[0];
}

WorkerTokenizer::WorkerTokenizer(const fs::path& path, const std::string& bos) : path_(path), socket_(connected(bos)) {
  expect_answer();
  Index pieces = 0;
  receive(&bos_id_, sizeof bos_id_);
  receive(&pieces, sizeof pieces);
  for (const Index size : receive_all<Index>(pieces)) {
    pieces_.emplace_back(static_cast<std::size_t>(size), ' ');
    receive(pieces_.back().data(), pieces_.back().size());
  }
}

void WorkerTokenizer::send(const void* bytes, std::size_t count) {
  const auto* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const auto sent = ::send(socket_.descriptor, from, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) {
      expect_answer(); // what it said before it ended
      fail_without_answer();
    }
    from += sent;
    count -= static_cast<std::size_t>(sent);
  }
}

void WorkerTokenizer::receive(void* bytes, std::size_t count) {
  auto* to = static_cast<char*>(bytes);
  while (count > 0) {
    const auto got = ::recv(socket_.descriptor, to, count, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_without_answer();
    to += got;
    count -= static_cast<std::size_t>(got);
  }
}

void WorkerTokenizer::fail_without_answer() {
  for (int i = 0; i < 200 && !worker_->ended(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  fail(ExitCode::unavailable, "the tokenizer {} has ended{}; is {} a Python with numpy and tokenizers? See CONCORD_PYTHON", path_.string(),
       worker_->ended() ? fmt::format(" with status {}", worker_->status()) : std::string(), python_for(""));
}

template <typename T>
std::vector<T> WorkerTokenizer::receive_all(Index count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  receive(values.data(), values.size() * sizeof(T));
  return values;
}

void WorkerTokenizer::expect_answer() {
  Index code = 0;
  receive(&code, sizeof code);
  if (code == 0) return;
  Index size = 0;
  receive(&size, sizeof size);
  const auto message = receive_all<char>(size);
  fail(static_cast<ExitCode>(code), "{}", std::string_view(message.data(), message.size()));
}

void WorkerTokenizer::encode(const std::vector<std::string_view>& documents, const Take& take) {
  constexpr std::size_t bytes_at_once = std::size_t{1} << 18; // the worker holds some hundred bytes a token
  for (std::size_t begin = 0; begin < documents.size();) {
    std::size_t end = begin;
    for (std::size_t bytes = 0; end < documents.size() && (end == begin || bytes + documents[end].size() <= bytes_at_once); ++end)
      bytes += documents[end].size();
    ask(std::span(documents).subspan(begin, end - begin), take);
    begin = end;
  }
}

void WorkerTokenizer::ask(std::span<const std::string_view> documents, const Take& take) {
  std::vector<Index> sizes{static_cast<Index>(documents.size())};
  for (const auto document : documents) sizes.push_back(static_cast<Index>(document.size()));
  send(sizes.data(), sizes.size() * sizeof(Index));
  for (const auto document : documents) send(document.data(), document.size());
  expect_answer();
  std::vector<TextToken> tokens;
  for (const auto document : documents) {
    Index count = 0;
    receive(&count, sizeof count);
    const auto ids = receive_all<std::int32_t>(count);
    const auto begins = receive_all<Index>(count);
    const auto ends = receive_all<Index>(count);
    tokens.clear();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const bool fits = ids[i] >= 0 && 0 <= begins[i] && begins[i] <= ends[i] && ends[i] <= static_cast<Index>(document.size());
      require(fits, ExitCode::bad_data, "{} gives token {} the bytes [{}, {}) of {}", path_.string(), ids[i], begins[i], ends[i],
              document.size());
      tokens.push_back({ids[i], begins[i], ends[i]});
    }
    take(tokens);
  }
}

} // namespace concord::corpus
