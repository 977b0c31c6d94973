#pragma once
// What `concord calibrate` says of a machine. Local; rank 0 alone speaks.

#include "concord/cost/calibrate/calibrate.hpp"

namespace concord::app {

void print_calibration(const cost::Calibration& calibration);

} // namespace concord::app
