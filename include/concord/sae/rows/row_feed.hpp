#pragma once
/// Where the rows of a training come from, in an order that does not depend on ranks; each rank is handed its part. Local.

#include "concord/comm/gpu/gpu.hpp"
#include "concord/core/index.hpp"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace concord::sae {

/// One rank's rows of a batch, as stored.
struct Batch {
  comm::StagingVector<float> rows; ///< [n, cols]
  std::vector<Index> positions;    ///< place of each in the batch
};

class RowFeed {
public:
  RowFeed() = default;
  RowFeed(const RowFeed&) = delete;
  RowFeed& operator=(const RowFeed&) = delete;
  virtual ~RowFeed() = default;
  virtual Index cols() const = 0;
  /// Widths of the models whose rows stand side by side; they add up to cols().
  virtual std::vector<Index> parts() const { return {cols()}; }
  virtual std::string location() const = 0; ///< for messages
  virtual std::string digest() const = 0;   ///< identity of the rows
  virtual std::string model() const = 0;    ///< path of the model they come from, "" when unknown
  /// Rows of all ranks in the sample that fixes scale and centre before the first step.
  virtual Index sample_rows() const = 0;
  /// This rank's part of the sample, with places in the sample.
  virtual void sample(Batch& sample) = 0;
  /// This rank's part of the batch of `step`, ascending by place in the batch.
  /// @throws Error bad_data when a row is not finite.
  virtual void batch(Index step, Batch& batch) = 0;
  /// Hands this rank's held-out rows out, [n, cols] at a time.
  virtual void held_out(const std::function<void(std::span<const float> rows)>& each) = 0;
};

/// What all feeds are told.
struct FeedSettings {
  Index batch = 4096;     ///< rows of a global batch
  double held_out = 0.02; ///< share of rows kept for evaluation, at most 65,536 rows
  bool keep_special = false;
  double memory_bytes = 0x1p32;
  std::uint64_t seed = 0;
  int layer = 0;
  int part = 0; ///< of `parts` ranks
  int parts = 1;
};

} // namespace concord::sae
