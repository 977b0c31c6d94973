#include "graph/triple_cycles.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"

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

/// Ranks take turns with the layers of A and of B; a layer of A's links from all of C's stay for the next.
class Count {
public:
  Count(const comm::Communicator& comm, const DirectedPair& ab, const DirectedPair& bc, const DirectedPair& ca, bool shifted)
      : comm_(comm), ab_(ab), bc_(bc), ca_(ca), shifted_(shifted), cells_(ab.layers_from() * ab.layers_to() * ca.layers_from() * 2) {}

  void run(std::vector<Index>& best, std::vector<Index>& mutual) {
    best.assign(cells_, 0);
    mutual.assign(cells_, 0);
    const std::size_t tasks = ab_.layers_from() * ab_.layers_to();
    const auto ranks = at(comm_.size());
    const std::size_t share = (tasks + ranks - 1) / ranks; // side by side, so that a rank has few layers of A
    for (std::size_t i = 0; i < share; ++i) {
      comm::stop_if_requested(comm_, "graph");
      const std::size_t task = at(comm_.rank()) * share + i;
      comm::agree(comm_, [&] {
        if (task < tasks) count(task / ab_.layers_to(), task % ab_.layers_to(), best, mutual);
      });
    }
    comm::sum(comm_, best);
    comm::sum(comm_, mutual);
  }

private:
  void count(std::size_t a, std::size_t b, std::vector<Index>& best, std::vector<Index>& mutual) {
    const std::size_t layers_c = ca_.layers_from();
    if (kept_of_ != static_cast<Index>(a)) {
      kept_.clear();
      for (std::size_t c = 0; c < layers_c; ++c) kept_.push_back(one_way(ca_, c, a, shifted_));
      kept_of_ = static_cast<Index>(a);
    }
    const OneWay ab = one_way(ab_, a, b, shifted_);
    for (std::size_t c = 0; c < layers_c; ++c) {
      const OneWay bc = one_way(bc_, b, c, shifted_);
      const std::size_t place = (a * ab_.layers_to() + b) * layers_c + c;
      put(best, place, cycles(ab.best, bc.best, kept_[c].best));
      put(mutual, place, cycles(ab.mutual, bc.mutual, kept_[c].mutual));
    }
  }

  const comm::Communicator& comm_;
  DirectedPair ab_, bc_, ca_;
  bool shifted_;
  std::size_t cells_;
  std::vector<OneWay> kept_; ///< from each layer of C to one of A
  Index kept_of_ = -1;
};

} // namespace

TripleCycles triple_cycles(const comm::Communicator& comm, const DirectedPair& ab, const DirectedPair& bc, const DirectedPair& ca) {
  TripleCycles all;
  Count(comm, ab, bc, ca, /*shifted=*/false).run(all.best, all.mutual);
  if (ab.pair->has_null()) Count(comm, ab, bc, ca, /*shifted=*/true).run(all.shifted_best, all.shifted_mutual);
  return all;
}

} // namespace concord::graph
