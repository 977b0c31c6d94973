#include "concord/agreement/two_by_two.hpp"

#include <cmath>
#include <limits>

namespace concord::agreement {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Margins {
  explicit Margins(const TwoByTwo& t)
      : first(t.n11 + t.n10), second(t.n11 + t.n01), not_first(t.n01 + t.n00), not_second(t.n10 + t.n00), all(first + not_first) {}
  double first, second, not_first, not_second, all;
};

} // namespace

double phi(const TwoByTwo& t) {
  const Margins m(t);
  const double scale = std::sqrt(m.first * m.not_first) * std::sqrt(m.second * m.not_second);
  return scale > 0 ? (t.n11 * t.n00 - t.n10 * t.n01) / scale : nan;
}

double pmi(const TwoByTwo& t) {
  const Margins m(t);
  return t.n11 > 0 ? std::log2(m.all * t.n11 / (m.first * m.second)) : nan;
}

double npmi(const TwoByTwo& t) {
  const double all = Margins(t).all;
  return t.n11 > 0 && t.n11 < all ? pmi(t) / -std::log2(t.n11 / all) : nan;
}

double log_odds(const TwoByTwo& t) {
  return std::log((t.n11 + 0.5) * (t.n00 + 0.5) / ((t.n10 + 0.5) * (t.n01 + 0.5)));
}

} // namespace concord::agreement
