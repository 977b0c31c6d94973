// Times of queued work, on a device whose clock the test holds.
#include <gtest/gtest.h>

#include "comm/gpu/queued_times.hpp"
#include <map>

namespace concord::comm {
namespace {

struct FakeDevice {
  double queued = 0;  ///< when what is queued by now will be done
  double reached = 0; ///< its clock
  std::map<int, double> at;
  int most = 1 << 20; ///< marks that it has
  int made = 0, dropped = 0;
};

struct FakeMarks {
  FakeDevice* device;
  int make() const { return device->made < device->most ? ++device->made : 0; }
  void put(int mark) const { device->at[mark] = device->queued; }
  bool passed(int mark) const { return device->at.at(mark) <= device->reached; }
  double seconds(int begin, int end) const { return device->at.at(end) - device->at.at(begin); }
  void drop(int /*mark*/) const { ++device->dropped; }
};

TEST(QueuedTimes, AreKnownOnceTheDeviceIsThere) {
  FakeDevice device;
  QueuedTimes<FakeMarks> times({&device});
  const auto exchange = [&](double seconds) { return times.around([&] { device.queued += seconds; }); };
  device.queued = 7; // other work in front
  EXPECT_EQ(exchange(2), 0);
  device.queued += 10; // and behind it
  device.reached = 8;  // amid the exchange
  EXPECT_EQ(exchange(3), 0);
  device.reached = 9;
  EXPECT_EQ(exchange(1), 2);
  device.reached = 100;
  EXPECT_EQ(times.take_done(), 3 + 1);
  EXPECT_EQ(times.take_done(), 0);
}

TEST(QueuedTimes, MarksAreTakenAgainAndGivenBack) {
  FakeDevice device;
  {
    QueuedTimes<FakeMarks> times({&device});
    double seconds = 0;
    for (int i = 0; i < 1000; ++i) {
      seconds += times.around([&] { device.queued += 1; });
      device.reached = device.queued;
    }
    EXPECT_EQ(seconds + times.take_done(), 1000);
    EXPECT_EQ(device.made, 2);
    for (int i = 0; i < 1000; ++i) times.around([&] { device.queued += 1; }); // which the device never comes to
    EXPECT_LE(device.made, 512);
  }
  EXPECT_EQ(device.dropped, device.made);
}

TEST(QueuedTimes, WorkIsDoneWithoutMarks) {
  for (const int most : {0, 1}) {
    FakeDevice device;
    device.most = most;
    QueuedTimes<FakeMarks> times({&device});
    for (int i = 0; i < 3; ++i) EXPECT_EQ(times.around([&] { device.queued += 1; }), 0);
    device.reached = device.queued;
    EXPECT_EQ(device.queued, 3);
    EXPECT_EQ(times.take_done(), 0);
    EXPECT_EQ(device.dropped, device.made);
  }
}

} // namespace
} // namespace concord::comm
