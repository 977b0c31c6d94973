#include "concord/core/run/region.hpp"

#ifdef CONCORD_CALIPER
#include <caliper/cali.h>
#endif

namespace concord {

#ifdef CONCORD_CALIPER

namespace {

cali_id_t region() {
  static const cali_id_t id = cali_create_attribute("concord", CALI_TYPE_STRING, CALI_ATTR_NESTED);
  return id;
}

} // namespace

Region::Region(const char* name) {
  cali_begin_string(region(), name);
}

Region::~Region() {
  cali_end(region());
}

#else

Region::Region(const char* /*name*/) {}
Region::~Region() = default;

#endif

} // namespace concord
