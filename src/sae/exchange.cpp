#include "concord/sae/exchange.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/dist/partition.hpp"

#include "sae/rows.hpp"
#include <algorithm>
#include <numeric>

namespace concord::sae {
namespace {

/// Sums a rank's arrays at their owners while later ones are made.
class Reductions {
public:
  explicit Reductions(const comm::Communicator& comm) : comm_(comm) {}
  void start(std::vector<float>& values, int owner) {
    constexpr std::size_t most = std::size_t{1} << 28; // MPI counts are 32 bits wide
    for (std::size_t begin = 0; begin < values.size(); begin += most) {
      const int count = static_cast<int>(std::min(most, values.size() - begin));
      requests_.emplace_back();
      const bool mine = owner == comm_.rank();
      MPI_Ireduce(mine ? MPI_IN_PLACE : values.data() + begin, mine ? values.data() + begin : nullptr, count, MPI_FLOAT, MPI_SUM, owner,
                  comm_, &requests_.back());
    }
  }
  void finish() {
    MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
    requests_.clear();
  }

private:
  const comm::Communicator& comm_;
  std::vector<MPI_Request> requests_;
};

/// Rows of `width` numbers from every rank, behind one another.
template <typename T>
void gather_rows_of_all(const comm::Communicator& comm, const std::vector<Index>& counts, const std::vector<T>& mine, std::vector<T>& all,
                        Index width) {
  all.resize(at(std::accumulate(counts.begin(), counts.end(), Index{0}) * width));
  comm::all_gather_rows(comm, mine.data(), counts, width * static_cast<Index>(sizeof(T)), all.data());
}

} // namespace

Exchange::Exchange(const comm::Communicator& comm, Index d, Index latents, Reduction reduction)
    : comm_(comm), d_(d), latents_(latents), reduction_(reduction) {
  const dist::Partition pieces{(latents + latent_piece - 1) / latent_piece, comm.size()};
  for (int rank = 0; rank < comm.size(); ++rank) {
    firsts_.push_back(std::min(latents, latent_piece * pieces.begin(rank)));
    counts_.push_back(std::min(latents, latent_piece * pieces.end(rank)) - firsts_.back());
  }
  if (reduction == Reduction::fast && comm.size() > 1)
    for (const Index count : counts_) owners_.emplace_back(d, count);
}

const StepRows& Exchange::collect(const StepRows& mine) {
  if (!gathers()) return mine;
  row_counts_ = comm::all_gather(comm_, std::vector<Index>{mine.count()});
  const auto gather = [&](const auto& from, auto& to, Index width) { gather_rows_of_all(comm_, row_counts_, from, to, width); };
  all_.d = d_;
  gather(mine.positions, all_.positions, 1);
  gather(mine.centred, all_.centred, d_);
  gather(mine.error, all_.error, d_);
  all_.codes.slots = mine.codes.slots;
  gather(mine.codes.index, all_.codes.index, mine.codes.slots);
  gather(mine.codes.value, all_.codes.value, mine.codes.slots);
  gather(mine.codes.gradient, all_.codes.gradient, mine.codes.slots);
  all_.aux_gradient.clear();
  all_.aux.slots = 0;
  return all_;
}

const StepRows& Exchange::collect_dead(const StepRows& mine) {
  if (!gathers()) return mine;
  const auto gather = [&](const auto& from, auto& to, Index width) { gather_rows_of_all(comm_, row_counts_, from, to, width); };
  gather(mine.aux_gradient, all_.aux_gradient, d_);
  all_.aux.slots = mine.aux.slots;
  gather(mine.aux.index, all_.aux.index, mine.aux.slots);
  gather(mine.aux.value, all_.aux.value, mine.aux.slots);
  gather(mine.aux.gradient, all_.aux.gradient, mine.aux.slots);
  return all_;
}

StepMoments Exchange::moments(const StepRows& seen) const {
  StepMoments moments = moments_of(seen);
  if (!gathers()) comm::sum(comm_, moments.sums);
  return moments;
}

std::vector<std::uint8_t> Exchange::fired(const StepRows& seen) const {
  std::vector<Index> marks(at(latents_), 0);
  for (const auto j : seen.codes.index)
    if (j >= 0) marks[at(j)] = 1;
  if (!gathers()) comm::sum(comm_, marks);
  std::vector<std::uint8_t> fired;
  fired.reserve(marks.size());
  for (const Index mark : marks) fired.push_back(mark > 0 ? 1 : 0);
  return fired;
}

void Exchange::gradients(const StepRows& seen, const FlatParameters& parameters, float scale, FlatParameters& share,
                         const std::function<void(Index)>& each) {
  if (!owners_.empty()) {
    sum_gradients(seen, parameters, scale, share);
    for_pieces((share.latents + latent_piece - 1) / latent_piece, [&](Index piece) {
      for (Index i = piece * latent_piece; i < std::min(share.latents, (piece + 1) * latent_piece); ++i) each(i);
    });
    return;
  }
  SharedSums sums = weight_gradients(seen, parameters, first(), scale, share, each);
  const auto pieces = comm_.size() > 1 ? comm::all_gather(comm_, sums.through_encoder) : std::move(sums.through_encoder);
  auto b_dec = share.b_dec();
  std::copy(sums.error.begin(), sums.error.end(), b_dec.begin());
  for (std::size_t i = 0; i < pieces.size(); ++i) b_dec[i % at(d_)] += pieces[i];
}

void Exchange::sum_gradients(const StepRows& mine, const FlatParameters& parameters, float scale, FlatParameters& share) {
  Reductions reductions(comm_);
  std::vector<float> b_dec(at(d_), 0.0F);
  for (int step = 0; step < comm_.size(); ++step) {
    const int owner = step; // in the same order everywhere, as MPI wants it
    auto& part = owners_[at(owner)];
    const SharedSums sums = weight_gradients(mine, parameters, firsts_[at(owner)], scale, part);
    if (step == 0) b_dec = sums.error; // the same for every owner
    for (std::size_t i = 0; i < sums.through_encoder.size(); ++i) b_dec[i % at(d_)] += sums.through_encoder[i];
    std::fill(part.b_dec().begin(), part.b_dec().end(), 0.0F);
    reductions.start(part.data, owner);
  }
  comm::sum(comm_, b_dec);
  reductions.finish();
  std::swap(share.data, owners_[at(comm_.rank())].data);
  std::copy(b_dec.begin(), b_dec.end(), share.b_dec().begin());
}

double Exchange::sum_over_latents(const std::vector<double>& mine) const {
  double sum = 0;
  for (const double number : comm_.size() > 1 ? comm::all_gather(comm_, mine) : mine) sum += number;
  return sum;
}

void Exchange::spread(FlatParameters& parameters) const {
  if (comm_.size() == 1) return;
  const Index row = d_ * static_cast<Index>(sizeof(float));
  comm::all_gather_rows(comm_, nullptr, counts_, row, parameters.encoder().data());
  comm::all_gather_rows(comm_, nullptr, counts_, row, parameters.decoder().data());
  comm::all_gather_rows(comm_, nullptr, counts_, sizeof(float), parameters.b_enc().data());
}

void Exchange::gather(const FlatParameters& share, FlatParameters& all) const {
  const Index row = d_ * static_cast<Index>(sizeof(float));
  comm::gather_rows(comm_, share.encoder().data(), counts_, row, all.encoder().data());
  comm::gather_rows(comm_, share.decoder().data(), counts_, row, all.decoder().data());
  comm::gather_rows(comm_, share.b_enc().data(), counts_, sizeof(float), all.b_enc().data());
  std::copy(share.b_dec().begin(), share.b_dec().end(), all.b_dec().begin());
}

void Exchange::take_share(std::span<const float> all, FlatParameters& share) const {
  const auto rows = static_cast<std::size_t>(latents_ * d_);
  const auto begin = at(first() * d_);
  const auto size = at(count() * d_);
  std::copy_n(all.begin() + static_cast<Index>(begin), size, share.encoder().begin());
  std::copy_n(all.begin() + static_cast<Index>(rows + begin), size, share.decoder().begin());
  std::copy_n(all.begin() + static_cast<Index>(2 * rows) + first(), count(), share.b_enc().begin());
  std::copy_n(all.end() - d_, d_, share.b_dec().begin());
}

double Exchange::bytes_a_step(Index rows, Index slots) const {
  const auto others = static_cast<double>(comm_.size() - 1) / static_cast<double>(comm_.size());
  const double weights = 4.0 * static_cast<double>(latents_) * static_cast<double>(2 * d_ + 1) * others;
  const double gathered = static_cast<double>(rows) * static_cast<double>(8 * d_ + 12 * slots + 8) * others;
  return weights + (reduction_ == Reduction::reproducible ? gathered : weights);
}

} // namespace concord::sae
