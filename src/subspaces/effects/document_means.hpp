#pragma once
/// Means over documents of what was measured at spans. Local.

#include "concord/agreement/ranks.hpp"
#include "concord/core/index.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace concord::subspaces {

/// Document -> places of its spans among those measured.
using DocumentPlaces = std::map<Index, std::vector<std::size_t>>;

struct DocumentMean {
  double value = std::numeric_limits<double>::quiet_NaN(); ///< without the 5 % largest and smallest documents
  double whole = value;                                    ///< of all documents
  double error = value;                                    ///< of `whole`; NaN of one document
};

/// The mean of what `of` gives for a place in each document; NaN is left out, and a document of nothing else.
template <typename Of>
std::map<Index, double> by_document(const DocumentPlaces& documents, const Of& of) {
  std::map<Index, double> means;
  for (const auto& [document, places] : documents) {
    double sum = 0;
    double count = 0;
    for (const std::size_t place : places) {
      const double value = of(place);
      if (std::isnan(value)) continue;
      sum += value;
      ++count;
    }
    if (count > 0) means[document] = sum / count;
  }
  return means;
}

/// Over documents, of the means within each.
template <typename Of>
DocumentMean over_documents(const DocumentPlaces& documents, const Of& of) {
  std::vector<double> means;
  for (const auto& [document, mean] : by_document(documents, of)) means.push_back(mean);
  if (means.empty()) return {};
  const auto n = static_cast<double>(means.size());
  double mean = 0;
  for (const double value : means) mean += value / n;
  double squares = 0;
  for (const double value : means) squares += (value - mean) * (value - mean);
  return {agreement::trimmed_mean(means), mean, n > 1 ? std::sqrt(squares / (n - 1) / n) : std::numeric_limits<double>::quiet_NaN()};
}

} // namespace concord::subspaces
