// Tables of concepts, and a text through the trie of their phrases.
#include "concord/concepts/concept_lists.hpp"
#include "concord/concepts/phrase_trie.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto [table, text] = fuzz::two_of(data, size);
  fuzz::expect_error_or_result([&, table = table, text = text] {
    const bool fold_case = size % 2 == 0;
    const auto lists = concepts::parse_concept_table("concepts.tsv", std::string(table), fold_case);
    std::vector<std::string> phrases;
    for (const auto& phrase : lists.phrases) phrases.push_back(phrase.text);
    const concepts::PhraseTrie trie(phrases, fold_case);
    Index end = 0;
    for (const auto& match : trie.find(text)) { // in order, inside, apart
      const bool right = match.begin >= end && match.end > match.begin && match.end <= static_cast<Index>(text.size()) &&
                         match.phrase < static_cast<Index>(phrases.size());
      if (!right) std::abort();
      end = match.end;
    }
  });
  return 0;
}
