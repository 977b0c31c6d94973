#include "concord/corpus/memory_plan.hpp"

#include <algorithm>

namespace concord::corpus {

MemoryPlan tokenize_memory(Index piece_bytes, double text_bytes, double vocabulary, double longest, double tokenizers) {
  const double p = std::min(static_cast<double>(piece_bytes), text_bytes);
  MemoryPlan plan("tokenize");
  plan.each_rank("tokenizers", "400 V each", tokenizers * 400 * vocabulary);
  plan.at_most(); // its own library's, of which little is known
  plan.each_rank("a piece of the text", "p", p);
  plan.each_rank("its tokens, of one byte at the shortest, and their file", "60 p a tokenizer", tokenizers * 60 * p);
  plan.at_most(); // four bytes a token are usual
  plan.each_rank("the longest document, and what SentencePiece makes of it", "240 m", 240 * longest);
  plan.at_most(); // 100 bytes a byte of prose
  if (tokenizers > 1) {
    plan.each_rank("its tokens by all tokenizers, and where they end together", "120 m a tokenizer", tokenizers * 120 * longest);
    plan.at_most();
  }
  plan.each_rank("sizes of all pieces", "48 bytes a piece", 48 * text_bytes / static_cast<double>(std::max<Index>(1, piece_bytes)));
  return plan;
}

} // namespace concord::corpus
