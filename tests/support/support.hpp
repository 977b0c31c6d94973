#pragma once
// What several tests need: the world, a folder of their own, expected errors.

#include "concord/comm/agree.hpp"
#include "concord/comm/session.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace concord::test {

inline const comm::Communicator& world() {
  static const comm::Communicator instance;
  return instance;
}

/// An empty folder below the test's work folder, made by rank 0 once no rank is at work in it any more. Collective.
inline std::filesystem::path empty_folder(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path("scratch") / name;
  world().barrier();
  comm::agree(world(), [&] {
    if (world().rank() != 0) return;
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  });
  return folder;
}

/// Runs `f` and expects an Error of this code whose message holds `part`.
template <typename F>
void expect_error(ExitCode code, const std::string& part, F&& f) {
  try {
    f();
    ADD_FAILURE() << "no error; expected one with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

} // namespace concord::test
