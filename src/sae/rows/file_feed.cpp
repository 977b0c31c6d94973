#include "sae/rows/file_feed.hpp"

#include "concord/core/at.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/run/spent.hpp"

#include "sae/rows/feed_sizes.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

Index held_out_count(Index usable, double share) {
  const auto wanted = std::min<Index>(65536, static_cast<Index>(std::llround(share * static_cast<double>(usable))));
  return std::min(wanted, usable - 1);
}

} // namespace

// --- a file in one order ------------------------------------------------------------------------------------------------

FileFeed::FileFeed(const std::string& location, const FeedSettings& settings) : settings_(settings), source_(location) {}

void FileFeed::open() const {
  if (order_) return;
  const FeedSettings& s = settings_;
  share_ = std::make_unique<OwnedRows>(source_, s.keep_special, s.part, s.parts, s.memory_bytes);
  require(share_->usable() >= 2, ExitCode::bad_data, "{} has {} usable rows; training needs at least 2", source_.location(),
          share_->usable());
  order_ = std::make_unique<RowOrder>(share_->usable(), held_out_count(share_->usable(), s.held_out), s.seed, s.layer);
}

Index FileFeed::sample_rows() const {
  open();
  return std::min(sample_size, order_->training_rows());
}

void FileFeed::take(Index begin, Index count, Batch& batch) const {
  open();
  std::vector<Index> mine;
  batch.positions.clear();
  for (Index p = begin; p < begin + count; ++p) {
    const Index row = order_->training_row(p);
    if (!share_->owns(row)) continue;
    mine.push_back(row);
    batch.positions.push_back(p - begin);
  }
  batch.rows.resize(mine.size() * at(source_.cols()));
  share_->gather(mine, batch.rows);
}

/// One thread at a time calls HDF5. What the thread met, batch() throws.
void FileFeed::wait_for_reader() const {
  const Spend spend(Spending::files, "wait for the reader");
  if (ahead_.done.valid()) ahead_.done.wait();
}

void FileFeed::sample(Batch& sample) {
  wait_for_reader();
  take(0, sample_rows(), sample);
}

void FileFeed::read(Index step, Batch& batch) const {
  take(step * settings_.batch, settings_.batch, batch);
}

void FileFeed::batch(Index step, Batch& batch) {
  if (ahead_.done.valid()) ahead_.done.get(); // throws what the thread met
  if (ahead_.step == step)
    std::swap(batch, ahead_.batch);
  else
    read(step, batch);
  ahead_.step = step + 1;
  ahead_.done = read_ahead([this, step] { read(step + 1, ahead_.batch); });
}

void FileFeed::held_out(const std::function<void(std::span<const float>)>& each) {
  wait_for_reader();
  open();
  std::vector<Index> owned;
  for (Index i = 0; i < order_->held_out_rows(); ++i)
    if (share_->owns(order_->held_out_row(i))) owned.push_back(order_->held_out_row(i));
  std::vector<float> rows;
  for (std::size_t begin = 0; begin < owned.size(); begin += held_out_piece) {
    const std::span<const Index> part(owned.data() + begin, std::min(held_out_piece, owned.size() - begin));
    rows.resize(part.size() * at(source_.cols()));
    share_->gather(part, rows);
    each(rows);
  }
}

// --- windows ------------------------------------------------------------------------------------------------------------

namespace {

bool same_row_kinds(const io::RowSource& a, const io::RowSource& b) {
  constexpr Index piece = Index{1} << 18;
  for (Index begin = 0; begin < a.rows(); begin += piece) {
    const Index end = std::min(a.rows(), begin + piece);
    if (a.row_kinds(begin, end) != b.row_kinds(begin, end)) return false;
  }
  return true;
}

} // namespace

PairFeed::PairFeed(const std::string& location_a, const std::string& location_b, const FeedSettings& settings)
    : a_(location_a, settings), b_(location_b, settings) {
  const auto& a = a_.source();
  const auto& b = b_.source();
  require(a.rows() == b.rows() && same_row_kinds(a, b), ExitCode::bad_data,
          "{} has {} rows and {} has {}: a crosscoder needs the activations of both models for the same tokens", a.location(), a.rows(),
          b.location(), b.rows());
  const auto hash_a = a.attribute("token_hash");
  const auto hash_b = b.attribute("token_hash");
  require(hash_a == hash_b || hash_a.empty() || hash_b.empty(), ExitCode::bad_data,
          "{} is of the tokens {}, {} of the tokens {}; extract both from one tokens.h5", a.location(), hash_a, b.location(), hash_b);
}

std::string PairFeed::digest() const {
  return digest_of(a_.digest() + b_.digest());
}

void PairFeed::join(Batch& batch) {
  const Index d_a = a_.cols();
  const Index d_b = b_.cols();
  batch.positions = of_a_.positions;
  batch.rows.resize(batch.positions.size() * at(d_a + d_b));
  for (std::size_t r = 0; r < batch.positions.size(); ++r) {
    const auto to = batch.rows.begin() + static_cast<Index>(r) * (d_a + d_b);
    std::copy_n(of_a_.rows.begin() + static_cast<Index>(r) * d_a, d_a, to);
    std::copy_n(of_b_.rows.begin() + static_cast<Index>(r) * d_b, d_b, to + d_a);
  }
}

/// One thread at a time calls HDF5, so the two do not read ahead by themselves.
void PairFeed::read(Index step) {
  a_.read(step, of_a_);
  b_.read(step, of_b_);
}

/// Takes of_a_ and of_b_ back from the reader, and what it has read away: others are going to fill them.
void PairFeed::stop_reader() {
  const Spend spend(Spending::files, "wait for the reader");
  if (ahead_.valid()) ahead_.wait();
  ahead_step_ = -1;
}

void PairFeed::sample(Batch& sample) {
  stop_reader();
  a_.sample(of_a_);
  b_.sample(of_b_);
  join(sample);
}

void PairFeed::batch(Index step, Batch& batch) {
  if (ahead_.valid()) ahead_.get(); // throws what the thread met
  if (ahead_step_ != step) read(step);
  join(batch);
  ahead_step_ = step + 1;
  ahead_ = read_ahead([this, step] { read(step + 1); });
}

void PairFeed::held_out(const std::function<void(std::span<const float>)>& each) {
  stop_reader();
  std::vector<float> rows_a; // of this rank
  a_.held_out([&](std::span<const float> rows) { rows_a.insert(rows_a.end(), rows.begin(), rows.end()); });
  Index before = 0;
  Batch both;
  b_.held_out([&](std::span<const float> rows) {
    const Index n = static_cast<Index>(rows.size()) / b_.cols();
    of_a_.rows.assign(rows_a.begin() + before * a_.cols(), rows_a.begin() + (before + n) * a_.cols());
    of_b_.rows.assign(rows.begin(), rows.end());
    of_a_.positions.resize(at(n));
    join(both);
    each(both.rows);
    before += n;
  });
}

// --- several trainings --------------------------------------------------------------------------------------------------

void SharedFeed::batch(Index step, Batch& batch) {
  if (step != step_) source_.batch(step, kept_);
  step_ = step;
  batch = kept_;
}

// --- windows of a file --------------------------------------------------------------------------------------------------

} // namespace concord::sae
