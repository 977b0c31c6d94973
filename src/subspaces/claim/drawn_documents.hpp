#pragma once
/// Mean effects from documents that are drawn anew. Local.

#include "subspaces/files/result_file.hpp"

namespace concord::subspaces {

/// Where subspaces are removed.
struct Removal {
  Index document = 0;
  std::int32_t concept_number = 0;
  int half = 0; ///< of the documents
};
std::vector<Removal> removals_of(const std::vector<Span>& spans, const std::vector<std::int32_t>& numbers);

/// How often each document of each half is in a draw.
using Draw = std::array<std::vector<Index>, halves>;

/// The documents of each half with a removal, and draws from them.
class Documents {
public:
  explicit Documents(const std::vector<Removal>& removals);
  /// Place of a removal's document in its half.
  Index place(const Removal& removal) const;
  /// As many of each half as there are, with replacement; the same for all models and layers, as documents are hard for all.
  Draw drawn(std::uint64_t seed, Index number) const;
  /// Each once.
  Draw all() const;

private:
  std::array<std::vector<Index>, halves> documents_; ///< ascending
};

/// KL of one kind of subspace of a layer by document, for all kinds of spans together.
class KlByDocument {
public:
  /// @param kl  [removals, basis_kinds, concepts]
  KlByDocument(const std::vector<Removal>& removals, const Documents& documents, const std::vector<float>& kl, int kind, Index concepts);
  /// [concepts removed, concepts at whose occurrences]: means over the documents drawn without the 5 % largest and smallest, as
  /// effect_means() has them; NaN where none was drawn.
  std::vector<double> means(const Draw& draw, int half) const;

private:
  struct OfDocument {
    double mean = 0;
    Index document = 0; ///< its place
  };
  Index concepts_;
  std::array<std::vector<std::vector<OfDocument>>, halves> cells_; ///< [removed, at], by ascending mean
};

} // namespace concord::subspaces
