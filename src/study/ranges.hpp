#pragma once
/// What the values of keys may be: one table, so that a slip ends a run when its study is read, not hours later. Local.

#include "concord/study/study.hpp"

namespace concord::study {

using settings::Allowed;

/// Of a number or a choice; nullptr: a flag, or a text that may be anything.
const Allowed* allowed(const std::string& key);
/// @throws Error config naming `where`, key, value and what is allowed.
void check_value(const std::string& key, const Value& value, const std::string& where);

} // namespace concord::study
