#include "graph/triple_cycles.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>
#include <optional>

namespace concord::graph {
namespace {

/// Links one way.
struct OneWay {
  std::vector<std::int32_t> best;
  std::vector<std::int32_t> mutual;
};

OneWay one_way(const DirectedPair& pair, std::size_t from, std::size_t to, bool shifted) {
  const auto links = pair.forward ? pair.pair->links(from, to, shifted) : pair.pair->links(to, from, shifted);
  return pair.forward ? OneWay{links.best.to_b, links.mutual.to_b} : OneWay{links.best.to_a, links.mutual.to_a};
}

void put(std::vector<Index>& all, std::size_t place, const Cycles& cycles) {
  all[2 * place] = cycles.begun;
  all[2 * place + 1] = cycles.closed;
}

/// Pairs of layers of B and C are dealt to ranks, and each rank keeps the links of its own, as many at a time as there is room for. Beside
/// them the layers of A come one after another: ranks read C's links to it together, each those of a part of C's layers.
class Count {
public:
  Count(const comm::Communicator& comm, const DirectedPair& ab, const DirectedPair& bc, const DirectedPair& ca, bool shifted, Index room)
      : comm_(comm), ab_(ab), bc_(bc), ca_(ca), shifted_(shifted), room_(room) {}

  void run(std::vector<Index>& best, std::vector<Index>& mutual) {
    const std::size_t cells = ab_.layers_from() * ab_.layers_to() * ca_.layers_from() * 2;
    best.assign(cells, 0);
    mutual.assign(cells, 0);
    const Index pairs = static_cast<Index>(bc_.layers_from() * bc_.layers_to());
    const auto& features = bc_.features_from();
    const Index of_pair = 2 * static_cast<Index>(sizeof(std::int32_t)) * *std::max_element(features.begin(), features.end());
    const Index at_once = std::max<Index>(1, room_ / std::max<Index>(1, of_pair)) * comm_.size();
    for (Index begin = 0; begin < pairs; begin += at_once) {
      load(begin, std::min(pairs, begin + at_once));
      for (std::size_t a = 0; a < ab_.layers_from(); ++a) {
        comm::stop_if_requested(comm_, "graph");
        const auto back = links_to(a);
        comm::agree(comm_, [&] { count(a, back, best, mutual); });
      }
    }
    comm::sum(comm_, best);
    comm::sum(comm_, mutual);
  }

private:
  /// From a layer of B to one of C.
  struct Between {
    std::size_t b, c;
    OneWay links;
  };

  /// This rank's of the pairs [begin, end).
  void load(Index begin, Index end) {
    const dist::Partition deal{end - begin, comm_.size()};
    between_.clear();
    for (Index i = 0; i < deal.size(0); ++i) { // nobody has more than the first rank
      comm::stop_if_requested(comm_, "graph");
      comm::agree(comm_, [&] {
        if (i >= deal.size(comm_.rank())) return;
        const std::size_t pair = at(begin + deal.begin(comm_.rank()) + i);
        const std::size_t b = pair / bc_.layers_to(), c = pair % bc_.layers_to();
        between_.push_back({b, c, one_way(bc_, b, c, shifted_)});
      });
    }
  }

  /// From each layer of C to one of A.
  std::vector<OneWay> links_to(std::size_t a) const {
    std::vector<OneWay> all(ca_.layers_from());
    const dist::Partition deal{static_cast<Index>(all.size()), comm_.size()};
    comm::agree(comm_, [&] {
      for (Index c = deal.begin(comm_.rank()); c < deal.end(comm_.rank()); ++c) all[at(c)] = one_way(ca_, at(c), a, shifted_);
    });
    for (std::size_t c = 0; c < all.size(); ++c)
      for (auto* links : {&all[c].best, &all[c].mutual}) comm::broadcast(comm_, *links, deal.owner(static_cast<Index>(c)));
    return all;
  }

  void count(std::size_t a, const std::vector<OneWay>& back, std::vector<Index>& best, std::vector<Index>& mutual) const {
    OneWay ab;
    std::optional<std::size_t> ab_is_to;
    for (const Between& bc : between_) { // those of a layer of B follow one another
      if (ab_is_to != bc.b) ab = one_way(ab_, a, bc.b, shifted_);
      ab_is_to = bc.b;
      const std::size_t place = (a * ab_.layers_to() + bc.b) * back.size() + bc.c;
      put(best, place, cycles(ab.best, bc.links.best, back[bc.c].best));
      put(mutual, place, cycles(ab.mutual, bc.links.mutual, back[bc.c].mutual));
    }
  }

  const comm::Communicator& comm_;
  DirectedPair ab_, bc_, ca_;
  bool shifted_;
  Index room_; ///< bytes
  std::vector<Between> between_;
};

} // namespace

TripleCycles triple_cycles(const comm::Communicator& comm, const DirectedPair& ab, const DirectedPair& bc, const DirectedPair& ca,
                           Index room) {
  TripleCycles all;
  Count(comm, ab, bc, ca, /*shifted=*/false, room).run(all.best, all.mutual);
  if (ab.pair->has_null()) Count(comm, ab, bc, ca, /*shifted=*/true, room).run(all.shifted_best, all.shifted_mutual);
  return all;
}

} // namespace concord::graph
