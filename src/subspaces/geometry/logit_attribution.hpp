#pragma once
/// What a concept's subspace writes of the words of another, by the weights alone: direct logit attribution.
///
/// The logits of a row x are W_U (w_norm * x / rms(x)) (before a soft-cap, which keeps their order), so with the scale of the clean run
/// frozen a change u of x changes the logit of token v by g_v . u / rms(x), g_v = w_norm * (W_U[v] - mean of W_U over the vocabulary): the
/// softmax does not see a shift that all logits share. Where the norm is LayerNorm, x and its rms are about the mean of x's columns, so g_v
/// is, too. The share ||U^T g_v||^2 / ||g_v||^2 says how much of what tells v from other tokens
/// lies in U; the scale cancels. A random U of k dimensions has k / d.

#include "concord/comm/session.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/subspaces/bases/bases.hpp"

#include <filesystem>

namespace concord::subspaces {

/// A token that words of concepts begin with, and at how many of each concept's spans.
struct FirstTokens {
  std::vector<std::int32_t> ids;           ///< ascending, each once
  std::vector<std::vector<double>> counts; ///< [ids][concepts]
};
/// Of occurrences of the phrases that members and bases were not chosen on. The same on every rank. Collective over `comm`.
/// @throws Error bad_data or io, agreed.
FirstTokens first_tokens(const comm::Communicator& comm, const corpus::TokenReader& tokens, const std::vector<Span>& spans, int concepts);

/// g_v of the tokens, [ids, d], on every rank; each rank reads its share of the vocabulary. Collective over `comm`.
/// @throws Error input_missing, or bad_data: an id is beyond the vocabulary; agreed.
std::vector<double> token_directions(const comm::Communicator& comm, const std::filesystem::path& model,
                                     const std::vector<std::int32_t>& ids);

/// Mean shares, [basis_kinds, C, C]: basis of row c, first tokens at the spans of column c'; tokens spread over ranks, equal to rounding
/// for any number of them. NaN: no basis, or no spans. Collective over `comm`.
std::vector<double> logit_shares(const comm::Communicator& comm, const FirstTokens& tokens, const std::vector<double>& directions,
                                 const LayerBases& bases);

} // namespace concord::subspaces
