#pragma once
// Tokenizers of Hugging Face (tokenizer.json), by their own library: a worker in Python, scripts/tokenizer_worker.py, one for each rank.

#include "concord/core/run/child.hpp"

#include "corpus/tokenizers/tokenizer.hpp"
#include <optional>
#include <span>

namespace concord::corpus {

class WorkerTokenizer final : public Tokenizer {
public:
  /// Starts the worker and waits until it has read the tokenizer. @throws Error input_missing, bad_data, config or unavailable.
  WorkerTokenizer(const std::filesystem::path& path, const std::string& bos);
  std::int32_t bos_id() const override { return bos_id_; }
  const std::vector<std::string>& pieces() const override { return pieces_; }
  void encode(const std::vector<std::string_view>& documents, const Take& take) override;

private:
  struct Socket {
    explicit Socket(int number) : descriptor(number) {}
    ~Socket();
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    const int descriptor;
  };
  /// Starts the worker at the other end.
  int connected(const std::string& bos);
  /// Of documents that the worker reads at once.
  void ask(std::span<const std::string_view> documents, const Take& take);
  void send(const void* bytes, std::size_t count);
  void receive(void* bytes, std::size_t count);
  template <typename T>
  std::vector<T> receive_all(Index count);
  /// Reads whether an answer follows. @throws Error what the worker says instead.
  void expect_answer();
  [[noreturn]] void fail_without_answer();

  std::filesystem::path path_;
  std::optional<Child> worker_;
  Socket socket_; ///< goes first, which ends the worker if it listens
  std::int32_t bos_id_ = -1;
  std::vector<std::string> pieces_;
};

} // namespace concord::corpus
