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

/// Of what `of` gives for a place: first the mean within each document. NaN is left out.
template <typename Of>
DocumentMean over_documents(const DocumentPlaces& documents, const Of& of) {
  std::vector<double> means;
  for (const auto& [document, places] : documents) {
    double sum = 0;
    double count = 0;
    for (const std::size_t place : places) {
      const double value = of(place);
      if (std::isnan(value)) continue;
      sum += value;
      ++count;
    }
    if (count > 0) means.push_back(sum / count);
  }
  if (means.empty()) return {};
  const auto n = static_cast<double>(means.size());
  double mean = 0;
  for (const double value : means) mean += value / n;
  double squares = 0;
  for (const double value : means) squares += (value - mean) * (value - mean);
  return {agreement::trimmed_mean(means), mean, n > 1 ? std::sqrt(squares / (n - 1) / n) : std::numeric_limits<double>::quiet_NaN()};
}

} // namespace concord::subspaces
