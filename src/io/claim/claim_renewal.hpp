#pragma once
/// A thread that shows every 5 s that the owner of claims lives, and ends the job when a claim was stolen. Local.

#include <chrono>
#include <filesystem>
#include <string>

namespace concord::io {

inline constexpr std::chrono::seconds renewal_interval{5};

void keep_renewed(const std::filesystem::path& claim, const std::string& token);
void renew_no_more(const std::filesystem::path& claim);

} // namespace concord::io
