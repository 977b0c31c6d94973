#pragma once
/// Association of two indicators by their 2 x 2 table, for co-activation. Local.

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
/// n11 / (n11 + n10 + n01); NaN where neither ever occurs.
double jaccard(const TwoByTwo& t);
/// ln((n11 + 1/2) (n00 + 1/2) / ((n10 + 1/2) (n01 + 1/2))) (Haldane 1956): free of the margins.
double log_odds(const TwoByTwo& t);
/// 2 sum O ln(O / E), terms with O = 0 dropped (Dunning 1993). Two-sided: large for n11 far below its expectation, too.
double g2(const TwoByTwo& t);

} // namespace concord::agreement
