#include "sae/rows/owned_rows.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace concord::sae {
RowOrder::RowOrder(Index usable, Index held_out, std::uint64_t seed, int layer)
    : usable_(usable), held_out_(held_out), seed_(seed), layer_(layer),
      split_(usable, Philox(seed, "sae-split", static_cast<std::uint64_t>(layer))),
      pass_order_(usable - held_out, Philox(seed, "sae-pass", static_cast<std::uint64_t>(layer), 0)) {}

Index RowOrder::training_row(Index position) {
  const Index pass = position / training_rows();
  if (pass != pass_) {
    pass_ = pass;
    pass_order_ =
        IndexPermutation(training_rows(), Philox(seed_, "sae-pass", static_cast<std::uint64_t>(layer_), static_cast<std::uint64_t>(pass)));
  }
  return split_(held_out_ + pass_order_(position % training_rows()));
}

OwnedRows::OwnedRows(const io::RowSource& source, bool keep_special, int part, int parts, double memory_bytes) : source_(source) {
  io::for_row_kinds(source.row_kinds(), source.rows(), [&](Index, std::uint8_t kind) {
    usable_total_ += keep_special || !io::is_bos(kind) ? 1 : 0;
    return true;
  });
  const dist::Partition share{usable_total_, parts};
  begin_ = share.begin(part);
  end_ = share.end(part);
  rows_.reserve(at(end_ - begin_));
  Index before = 0; // usable rows in front of r; a list of all of them would take 8 bytes a row on every rank
  io::for_row_kinds(source.row_kinds(), source.rows(), [&](Index r, std::uint8_t kind) {
    if (before == end_) return false;
    if (!keep_special && io::is_bos(kind)) return true;
    if (before >= begin_) rows_.push_back(r);
    ++before;
    return true;
  });
  const double bytes =
      static_cast<double>(end_ - begin_) * static_cast<double>(source.cols()) * static_cast<double>(size_of(source.dtype()));
  if (bytes <= memory_bytes) load();
}

void OwnedRows::load() {
  const Index row_bytes = source_.cols() * static_cast<Index>(size_of(source_.dtype()));
  memory_.resize(rows_.size() * at(row_bytes));
  for (std::size_t i = 0; i < rows_.size();) { // special rows cut the file into runs
    std::size_t end = i + 1;
    while (end < rows_.size() && rows_[end] == rows_[end - 1] + 1) ++end;
    source_.read(rows_[i], static_cast<Index>(end - i), memory_.data() + i * at(row_bytes));
    i = end;
  }
}

void OwnedRows::gather(std::span<const Index> usable_rows, std::span<float> out) const {
  const Index d = source_.cols();
  if (memory_.empty()) {
    read_sorted(usable_rows, out);
  } else {
    const std::size_t row_bytes = at(d) * size_of(source_.dtype());
    for (std::size_t i = 0; i < usable_rows.size(); ++i) {
      const auto row = out.subspan(i * at(d), at(d));
      to_float(memory_.data() + at(usable_rows[i] - begin_) * row_bytes, source_.dtype(), row);
      // One by one: in cache, and so that the message names the row of the file.
      io::check_finite(row, d, rows_[at(usable_rows[i] - begin_)], source_.location());
    }
  }
}

void OwnedRows::read_sorted(std::span<const Index> usable_rows, std::span<float> out) const {
  constexpr Index gap = 16; // rows worth reading through rather than seeking over
  const Index d = source_.cols();
  std::vector<std::size_t> order(usable_rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return usable_rows[a] < usable_rows[b]; });
  const auto file_row = [&](std::size_t i) { return rows_[at(usable_rows[order[i]] - begin_)]; };
  std::vector<float> run;
  for (std::size_t i = 0; i < order.size();) {
    std::size_t end = i + 1;
    while (end < order.size() && file_row(end) - file_row(end - 1) <= gap) ++end;
    const Index first = file_row(i);
    const Index count = file_row(end - 1) - first + 1;
    run.resize(at(count * d));
    source_.read_float(first, count, run);
    for (; i < end; ++i) std::copy_n(run.begin() + (file_row(i) - first) * d, d, out.begin() + static_cast<Index>(order[i]) * d);
  }
}

} // namespace concord::sae
