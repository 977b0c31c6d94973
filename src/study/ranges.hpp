#pragma once
/// What the values of keys may be: one table, so that a slip ends a run when its study is read, not hours later. Local.

#include "concord/study/study.hpp"

namespace concord::study {

/// What a key may hold: numbers from `low` to `high`, or one of `words`. Without words a text may be anything.
struct Allowed {
  double low = 0;
  double high = 0;
  bool above_low = false;  ///< low itself is not allowed
  bool below_high = false; ///< high itself is not allowed
  std::vector<std::string> words;
};

/// Of a number or a choice; nullptr: a flag, or a text that may be anything.
const Allowed* allowed(const std::string& key);
/// "a whole number from 1 to 2147483647" or "one of a, b".
std::string description(const Allowed& allowed, const Value& value);
/// @throws Error config naming `where`, key, value and what is allowed.
void check_value(const std::string& key, const Value& value, const std::string& where);

} // namespace concord::study
