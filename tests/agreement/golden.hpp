#pragma once
// Golden values of tests/golden/make_agreement_golden.py.

#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

namespace concord::agreement::golden {

inline const nlohmann::json& record() {
  static const nlohmann::json json = [] {
    const char* source = std::getenv("CONCORD_SOURCE");
    std::ifstream file(std::string(source != nullptr ? source : ".") + "/tests/golden/agreement.json");
    return nlohmann::json::parse(file);
  }();
  return json;
}

/// null is NaN.
inline std::vector<double> numbers(const nlohmann::json& list) {
  std::vector<double> out;
  for (const auto& v : list) out.push_back(v.is_null() ? std::numeric_limits<double>::quiet_NaN() : v.get<double>());
  return out;
}

} // namespace concord::agreement::golden
