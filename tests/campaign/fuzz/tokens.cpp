// tokens.h5, by each of its readers.
#include "concord/corpus/tokens.hpp"

#include "concord/corpus/text/token_texts.hpp"
#include "concord/corpus/token_reader.hpp"

#include "hdf5_parts.hpp"
#include "support/whole_tokens.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  test::Tokens good;
  good.ids = {0, 1, 2, 3, 0, 5};
  good.context_offsets = {0, 4, 6};
  const auto path = fuzz::folder() / "tokens.h5";
  fuzz::Hdf5Parts parts(path, fuzz::text_of(data, size));
  parts.attribute("token_hash", test::token_hash(good));
  parts.attribute("bos_id", "0");
  parts.dataset("/tokens", good.ids);
  parts.dataset("/context_offsets", good.context_offsets);
  parts.dataset("/context_document", std::vector<Index>{0, 1});
  parts.dataset("/byte_begin", std::vector<Index>{0, 0, 1, 2, 3, 3});
  parts.dataset("/byte_end", std::vector<Index>{0, 1, 2, 3, 3, 4});
  parts.dataset("/pieces/bytes", std::vector<std::uint8_t>{'a', '<', '0', 'x', '0', 'A', '>'});
  parts.dataset("/pieces/ends", std::vector<Index>{1, 7});
  parts.close();
  fuzz::expect_error_or_result([&] {
    const corpus::TokenTexts texts(path);
    texts.of_rows({0, 5, -1});
  });
  fuzz::expect_error_or_result([&] { corpus::read_contexts(path); });
  fuzz::expect_error_or_result([&] {
    const corpus::TokenReader reader(path);
    reader.row_kinds(0, reader.contexts());
    reader.check();
  });
  return 0;
}
