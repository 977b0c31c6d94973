#include "subspaces/carried/map_rows.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace concord::subspaces {
namespace {

Index context_of(const std::vector<Index>& offsets, Index row) {
  return std::upper_bound(offsets.begin(), offsets.end(), row) - offsets.begin() - 1;
}

/// The part of each document: 9 bytes each; 16 more for each of half 0 while parts are dealt.
class DocumentParts {
public:
  /// @param documents  that occur, in any order, several times or not
  DocumentParts(std::vector<Index> documents, const std::vector<Span>& spans, std::uint64_t seed) : documents_(std::move(documents)) {
    std::sort(documents_.begin(), documents_.end());
    documents_.erase(std::unique(documents_.begin(), documents_.end()), documents_.end());
    std::map<Index, std::int8_t> half; // as the spans say
    for (const Span& span : spans) half.emplace(span.document, span.document_half);
    const Philox random(seed, "documents of a map");
    std::vector<std::pair<std::uint64_t, Index>> in_order; // of half 0: key, place
    for (std::size_t i = 0; i < documents_.size(); ++i) {
      const std::uint64_t key = random.bits(static_cast<std::uint64_t>(documents_[i]));
      const auto found = half.find(documents_[i]);
      const bool held = found == half.end() ? (key & 1U) != 0 : found->second == 1;
      parts_.push_back(held ? MapPart::held : MapPart::fit);
      if (!held) in_order.emplace_back(key, static_cast<Index>(i));
    }
    std::sort(in_order.begin(), in_order.end());
    constexpr std::size_t every = 5;
    for (std::size_t i = every - 1; i < in_order.size(); i += every) parts_[at(in_order[i].second)] = MapPart::choose;
  }
  MapPart of(Index document) const {
    return parts_[static_cast<std::size_t>(std::lower_bound(documents_.begin(), documents_.end(), document) - documents_.begin())];
  }

private:
  std::vector<Index> documents_;
  std::vector<MapPart> parts_;
};

/// Whether contexts stand for documents among the spans (choose_spans()).
bool by_context(const std::vector<Span>& spans, const ContextPlaces& places) {
  if (places.document.empty()) return true;
  return std::all_of(spans.begin(), spans.end(), [&](const Span& span) { return span.document == context_of(places.offsets, span.begin); });
}

/// Contexts one behind the other of map_block_rows rows or more: where blocks of the list begin, and its end.
std::vector<Index> block_starts(const std::vector<Index>& contexts, const std::vector<Index>& offsets) {
  std::vector<Index> starts{0};
  Index rows = 0;
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    rows += offsets[at(contexts[i]) + 1] - offsets[at(contexts[i])];
    if (rows < map_block_rows && i + 1 < contexts.size()) continue;
    starts.push_back(static_cast<Index>(i) + 1);
    rows = 0;
  }
  return starts;
}

/// The rows of a block of contexts that are no opening ones, and none of them too long in either model.
class BlockReader {
public:
  BlockReader(const PairedRows& rows, const std::vector<Index>& contexts)
      : rows_(rows), contexts_(contexts), starts_(block_starts(contexts, rows.tokens.context_offsets())) {}
  Index blocks() const { return static_cast<Index>(starts_.size()) - 1; }
  struct Block {
    std::vector<double> x, y;
  };
  Block read(Index block) const {
    Block kept{read(rows_.x, block), read(rows_.y, block)};
    if (std::isinf(rows_.longest_x) && std::isinf(rows_.longest_y)) return kept;
    const Index dx = rows_.x.cols();
    const Index dy = rows_.y.cols();
    Index rows = 0;
    for (Index row = 0; row * dx < static_cast<Index>(kept.x.size()); ++row) {
      if (is_long(kept.x, row, dx, rows_.longest_x) || is_long(kept.y, row, dy, rows_.longest_y)) continue;
      std::copy_n(kept.x.begin() + static_cast<std::ptrdiff_t>(row * dx), dx, kept.x.begin() + static_cast<std::ptrdiff_t>(rows * dx));
      std::copy_n(kept.y.begin() + static_cast<std::ptrdiff_t>(row * dy), dy, kept.y.begin() + static_cast<std::ptrdiff_t>(rows * dy));
      ++rows;
    }
    kept.x.resize(at(rows * dx));
    kept.y.resize(at(rows * dy));
    return kept;
  }

private:
  static bool is_long(const std::vector<double>& rows, Index row, Index d, double longest) {
    double squares = 0;
    for (Index j = row * d; j < (row + 1) * d; ++j) squares += rows[at(j)] * rows[at(j)];
    return std::sqrt(squares) > longest;
  }
  std::vector<double> read(const io::RowSource& source, Index block) const {
    std::vector<double> all;
    std::vector<float> values;
    const auto& offsets = rows_.tokens.context_offsets();
    for (Index i = starts_[at(block)]; i < starts_[at(block) + 1]; ++i) {
      const Index context = contexts_[at(i)];
      const Index begin = offsets[at(context)];
      const Index count = offsets[at(context) + 1] - begin;
      values.resize(at(count * source.cols()));
      source.read_float(begin, count, values);
      const auto kinds = rows_.tokens.row_kinds(context, context + 1);
      for (Index row = 0; row < count; ++row) {
        if (kinds[at(row)] != static_cast<std::uint8_t>(io::RowKind::text)) continue;
        const auto first = values.begin() + static_cast<std::ptrdiff_t>(row * source.cols());
        all.insert(all.end(), first, first + static_cast<std::ptrdiff_t>(source.cols()));
      }
    }
    return all;
  }
  const PairedRows& rows_;
  const std::vector<Index>& contexts_;
  std::vector<Index> starts_;
};

/// The first `count` of the rows [n, d] in random order.
std::vector<double> reordered(const std::vector<double>& rows, Index d, const Philox& random, Index count) {
  const auto order = shuffled(static_cast<Index>(rows.size()) / d, random);
  std::vector<double> out;
  out.reserve(at(count * d));
  for (Index i = 0; i < count; ++i) {
    const auto first = rows.begin() + static_cast<std::ptrdiff_t>(order[at(i)] * d);
    out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(d));
  }
  return out;
}

} // namespace

MapContexts draw_map_contexts(const std::vector<Span>& spans, const ContextPlaces& places, Index most_rows, std::uint64_t seed) {
  const auto count = static_cast<Index>(places.offsets.size()) - 1;
  const bool contexts_alone = by_context(spans, places);
  const auto document_of = [&](Index context) { return contexts_alone ? context : places.document[at(context)]; };
  std::vector<Index> documents;
  documents.reserve(at(count));
  for (Index context = 0; context < count; ++context) documents.push_back(document_of(context));
  const DocumentParts parts(std::move(documents), spans, seed);
  const IndexPermutation order(count, Philox(seed, "contexts of a map"));
  MapContexts drawn;
  std::array<Index, 2> rows{}; // by half
  for (Index i = 0; i < count; ++i) {
    const Index context = order(i);
    const MapPart part = parts.of(document_of(context));
    Index& taken = rows[part == MapPart::held ? 1 : 0];
    const Index length = places.offsets[at(context) + 1] - places.offsets[at(context)];
    if (taken + length > most_rows) continue;
    taken += length;
    drawn[static_cast<std::size_t>(part)].push_back(context);
  }
  return drawn;
}

PairMoments map_moments(const comm::Communicator& comm, const PairedRows& rows, const std::vector<Index>& contexts, bool shuffled,
                        std::uint64_t seed) {
  PairMoments moments(rows.x.cols(), rows.y.cols());
  const comm::StopWithin stop;
  comm::agree(comm, [&] {
    const BlockReader reader(rows, contexts);
    const dist::Partition share{reader.blocks(), comm.size()};
    for (Index block = share.begin(comm.rank()); block < share.end(comm.rank()) && !stop.wanted_here(); ++block) {
      auto [x, y] = reader.read(block);
      if (shuffled && reader.blocks() > 1) y = reader.read((block + 1) % reader.blocks()).y;
      const Index count = std::min(static_cast<Index>(x.size()) / moments.dx, static_cast<Index>(y.size()) / moments.dy);
      if (shuffled) y = reordered(y, moments.dy, Philox(seed, "shuffled rows", static_cast<std::uint64_t>(block)), count);
      moments.add(x, y, count);
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  comm::sum(comm, &moments.n, 1);
  for (auto* sums : {&moments.x, &moments.y, &moments.xx, &moments.xy, &moments.yy}) comm::sum(comm, *sums);
  return moments;
}

} // namespace concord::subspaces
