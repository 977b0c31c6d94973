#pragma once
/// The published rule for the features of a concept (arXiv 2507.22918; docs/subspaces.md): a feature belongs to it where one of its five
/// strongest tokens is a keyword of the concept, as a whole word. Local.

#include "concord/concepts/concept_lists.hpp"
#include "concord/corpus/text/token_texts.hpp"
#include "concord/features/features.hpp"

#include <set>

namespace concord::subspaces {

/// The features of each concept in a layer. A token counts, without white space around it and in lower case, where it is a keyword and the
/// keyword is a word of the tokens from two before it to one behind, without . , ? ! and line breaks. Phrases of several words never count.
/// @param rows all rows of the tokens. @throws Error bad_data
std::vector<std::set<std::int32_t>> paper_features(const features::FeaturesFile& file, int layer, const corpus::TokenTexts& texts,
                                                   Index rows, const concepts::ConceptLists& lists);

} // namespace concord::subspaces
