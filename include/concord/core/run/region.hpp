#pragma once
/// A region of Caliper (CONCORD_CALIPER), by which its services sort what they measure; without it nothing. Local.

namespace concord {

class Region {
public:
  explicit Region(const char* name);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
};

} // namespace concord
