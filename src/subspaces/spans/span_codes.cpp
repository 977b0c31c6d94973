#include "subspaces/spans/span_codes.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <span>

namespace concord::subspaces {
namespace {

/// Rows of the codes that lie so near are read at once, and their offsets.
constexpr Index rows_between = 8;
constexpr Index offsets_between = 256;
constexpr Index rows_at_once = 1 << 14;

constexpr std::size_t piece_entries = std::size_t{1} << 17;

float combined(SpanValue value, float so_far, float next, bool of_last_row) {
  switch (value) {
  case SpanValue::max:
    return std::max(so_far, next);
  case SpanValue::last:
    return of_last_row ? next : so_far;
  default:
    return so_far + next;
  }
}

/// Spans [first, last) lie in rows [begin, end), with no more than a few rows between them.
struct Stretch {
  Index last;
  Index begin;
  Index end;
};

/// From span `first` on.
Stretch stretch_of(const std::vector<Span>& spans, Index first, Index last, Index between) {
  Stretch stretch{first + 1, spans[at(first)].begin, spans[at(first)].end};
  for (; stretch.last < last; ++stretch.last) {
    const Span& span = spans[at(stretch.last)];
    if (span.begin > stretch.end + between || span.end - stretch.begin > rows_at_once) break;
    stretch.end = std::max(stretch.end, span.end);
  }
  return stretch;
}

/// Adds the codes at spans to pieces.
class Adding {
public:
  Adding(SpanCodes& codes, Index features, SpanValue value) : codes_(codes), value_(value), place_(at(features)) {}

  /// The span's rows are rows [begin, end) of `rows`.
  void add(const io::CsrMatrix& rows, Index begin, Index end, std::int32_t number) {
    const auto first = at(rows.indptr[at(begin)]);
    const auto last = at(rows.indptr[at(end)]);
    make_room(last - first, number);
    if (end - begin == 1)
      add_row(std::span(rows.indices).subspan(first, last - first), std::span(rows.values).subspan(first, last - first));
    else
      add_rows(rows, first, last, at(rows.indptr[at(end - 1)]), static_cast<float>(end - begin));
    SpanPiece& piece = codes_.pieces.back();
    for (std::size_t i = piece.ends.empty() ? 0 : piece.ends.back(); i < used_; ++i) ++codes_.count[at(piece.features[i])];
    piece.ends.push_back(used_);
  }

  /// Behind the last span: the piece ends where its entries end.
  void end_piece() {
    if (codes_.pieces.empty()) return;
    codes_.pieces.back().features.resize(used_);
    codes_.pieces.back().values.resize(used_);
  }

private:
  void make_room(std::size_t entries, std::int32_t number) {
    if (!codes_.pieces.empty() && used_ + entries <= codes_.pieces.back().values.size()) return;
    end_piece();
    SpanPiece& piece = codes_.pieces.emplace_back();
    piece.first_span = number;
    piece.features.resize(std::max(piece_entries, entries));
    piece.values.resize(std::max(piece_entries, entries));
    used_ = 0;
  }

  /// As most spans are: every value as it is.
  void add_row(std::span<const std::int32_t> features, std::span<const float> values) {
    SpanPiece& piece = codes_.pieces.back();
    for (std::size_t i = 0; i < values.size(); ++i) {
      piece.features[used_] = features[i];
      piece.values[used_] = values[i];
      used_ += values[i] > 0 ? 1 : 0;
    }
  }

  /// place_ says where a feature is among those of the span; what other spans left there names another feature or lies elsewhere.
  void add_rows(const io::CsrMatrix& rows, std::size_t first, std::size_t last, std::size_t last_row, float length) {
    SpanPiece& piece = codes_.pieces.back();
    std::size_t end = used_;
    for (std::size_t i = first; i < last; ++i) {
      const std::int32_t feature = rows.indices[i];
      const std::size_t place = place_[at(feature)];
      const bool known = place >= used_ && place < end && piece.features[place] == feature;
      const float sum = combined(value_, known ? piece.values[place] : 0, rows.values[i], i >= last_row);
      if (!known) place_[at(feature)] = static_cast<std::uint32_t>(end);
      piece.features[known ? place : end] = feature;
      piece.values[known ? place : end] = sum;
      end += known ? 0 : 1;
    }
    const std::size_t begin = used_;
    for (std::size_t i = begin; i < end; ++i) {
      const float sum = value_ == SpanValue::mean ? piece.values[i] / length : piece.values[i];
      piece.features[used_] = piece.features[i];
      piece.values[used_] = sum;
      used_ += sum > 0 ? 1 : 0;
    }
  }

  SpanCodes& codes_;
  SpanValue value_;
  std::size_t used_ = 0;             ///< entries of the last piece
  std::vector<std::uint32_t> place_; ///< [features] in the last piece
};

} // namespace

SpanCodes read_span_codes(const features::LayerCodes& layer, Index features, const std::vector<Span>& spans, Index first, Index last,
                          SpanValue value, const comm::StopWithin& stop) {
  SpanCodes codes;
  codes.count.resize(at(features));
  Adding adding(codes, features, value);
  std::vector<Index> offsets;
  io::CsrMatrix rows;
  for (Index i = first; i < last && !stop.wanted_here();) {
    const Stretch far = stretch_of(spans, i, last, offsets_between);
    layer.entry_offsets(far.begin, far.end, offsets);
    while (i < far.last) {
      const Stretch near = stretch_of(spans, i, far.last, rows_between);
      layer.rows_at(std::span(offsets).subspan(at(near.begin - far.begin), at(near.end - near.begin) + 1), near.begin, rows);
      for (; i < near.last; ++i) {
        const Span& span = spans[at(i)];
        adding.add(rows, span.begin - near.begin, span.end - near.begin, static_cast<std::int32_t>(i));
      }
    }
  }
  adding.end_piece();
  return codes;
}

} // namespace concord::subspaces
