#pragma once
/// Association of two indicators by their 2 x 2 table, for co-activation. Local. Dunning's G^2 is concepts::log_likelihood_ratio().

namespace concord::agreement {

/// How often both occur, the first alone, the second alone, neither.
struct TwoByTwo {
  double n11 = 0;
  double n10 = 0;
  double n01 = 0;
  double n00 = 0;
};

/// Pearson's r of the indicators (Matthews' coefficient); NaN where one of them is constant.
double phi(const TwoByTwo& t);
/// log2(n n11 / (n1. n.1)), in bits; NaN at n11 = 0, where it is not defined.
double pmi(const TwoByTwo& t);
/// PMI / -log2(n11 / n) (Bouma 2009), in [-1, 1]; NaN at n11 = 0 and at n11 = n.
double npmi(const TwoByTwo& t);
/// ln((n11 + 1/2) (n00 + 1/2) / ((n10 + 1/2) (n01 + 1/2))) (Haldane 1956): free of the margins.
double log_odds(const TwoByTwo& t);

} // namespace concord::agreement
