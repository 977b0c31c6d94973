#pragma once
/// The measures that follow from two spaces' factors, of their own pairing or of another, and what chance gives. Local.

#include "concord/similarity/factor/factor.hpp"
#include "concord/similarity/measures/measure.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace concord::similarity {

using Scores = std::map<std::string, double>;

class FactorScores {
public:
  /// @param wants  whether a measure is asked for; @param factors  must outlive it
  FactorScores(const FactorPair& factors, std::function<bool(const std::string&)> wants);

  static std::vector<std::string> names();
  bool any() const { return blocks_ || cross_; }
  /// Why SVCCA's kept components say nothing; empty: they do.
  const std::string& block_reason() const { return block_reason_; }

  /// Of T = U_x^T P U_y, for the pairing `order` of P.
  Scores of(const std::vector<double>& t, const std::vector<Index>& order) const;
  /// By name, where a law is known. @param by_law  moments of the factors themselves, with their skewness
  std::map<std::string, Moments> chance(bool by_law) const;
  /// Cosines of the principal angles of the two spans, squared and averaged, beside those of random subspaces.
  std::pair<double, Moments> angles() const;

private:
  void add_blocks(Scores& scores, const std::vector<double>& t) const;
  void add_cross(Scores& scores, const std::vector<double>& t, const std::vector<Index>& order) const;

  const FactorPair& factors_;
  std::function<bool(const std::string&)> wants_;
  Index rows_;
  bool blocks_ = false;
  bool cross_ = false;
  std::string block_reason_;
};

/// Whether one of the measures is asked for that need the kept components, or the whole of both sides.
bool wants_blocks(const std::function<bool(const std::string&)>& wants);
bool wants_cross(const std::function<bool(const std::string&)>& wants);

} // namespace concord::similarity
