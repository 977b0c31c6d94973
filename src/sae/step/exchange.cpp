#include "sae/step/exchange.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/dist/partition.hpp"

#include "sae/numbers/rows.hpp"
#include <algorithm>
#include <numeric>

namespace concord::sae {
namespace {

/// Sums a rank's arrays at their owners while later ones are made.
class Reductions {
public:
  explicit Reductions(const comm::Communicator& comm) : comm_(comm) {}
  void start(std::span<float> values, int owner) {
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

} // namespace

/// Rows of `width` numbers from every rank, behind one another.
template <typename T>
void Exchange::gather_rows(const std::vector<Index>& counts, const std::vector<T>& mine, std::vector<T>& all, Index width) {
  const Index rows = std::accumulate(counts.begin(), counts.end(), Index{0});
  resize_exactly(all, at(rows * width));
  comm::all_gather_rows(comm_, mine.data(), counts, width * static_cast<Index>(sizeof(T)), all.data());
  bytes_ += static_cast<double>((rows - counts[at(comm_.rank())]) * width) * sizeof(T);
}

Exchange::Exchange(const comm::Communicator& comm, const Architecture& architecture, Reduction reduction)
    : comm_(comm), architecture_(architecture),
      weights_(std::make_shared<comm::NodeArray>(
          comm, FlatParameters::count(architecture.settings().d, architecture.settings().latents, architecture.scalars()))),
      d_(architecture.settings().d), latents_(architecture.settings().latents), reduction_(reduction) {
  const Index latents = latents_;
  const dist::Partition pieces{(latents + latent_piece - 1) / latent_piece, comm.size()};
  for (int rank = 0; rank < comm.size(); ++rank) {
    firsts_.push_back(std::min(latents, latent_piece * pieces.begin(rank)));
    counts_.push_back(std::min(latents, latent_piece * pieces.end(rank)) - firsts_.back());
  }
}

/// Rows of `width` numbers from every rank, behind one another, in the memory of the node: each rank puts its own there.
std::span<const float> Exchange::show_rows(std::unique_ptr<comm::NodeArray>& array, std::span<const float> mine, Index width) {
  if (!array) array = std::make_unique<comm::NodeArray>(comm_, architecture_.settings().batch * width);
  const Index before = std::accumulate(row_counts_.begin(), row_counts_.begin() + comm_.rank(), Index{0});
  for_row_pieces(row_counts_[at(comm_.rank())], [&](Index begin, Index end) {
    std::copy(mine.begin() + begin * width, mine.begin() + end * width, array->values().begin() + (before + begin) * width);
  });
  bytes_ += array->share(0, row_counts_, width);
  return array->values();
}

void Exchange::gather_codes(const Codes& mine, Codes& all) {
  const auto counts = comm::all_gather(comm_, std::vector<Index>{mine.entries()});
  gather_rows(row_counts_, mine.ends, all.ends, 1);
  Index row = 0;
  Index before = 0; // entries of lower ranks
  for (std::size_t rank = 0; rank < counts.size(); ++rank) {
    for (const Index end = row + row_counts_[rank]; row < end; ++row) all.ends[at(row)] += before;
    before += counts[rank];
  }
  all.extras = mine.extras;
  gather_rows(counts, mine.index, all.index, 1);
  gather_rows(counts, mine.value, all.value, 1);
  gather_rows(counts, mine.gradient, all.gradient, 1);
  gather_rows(counts, mine.extra, all.extra, mine.extras);
}

const StepRows& Exchange::collect(const StepRows& mine) {
  if (!gathers()) return mine;
  row_counts_ = comm::all_gather(comm_, std::vector<Index>{mine.count()});
  all_.d = d_;
  all_.prefixes = mine.prefixes;
  gather_rows(row_counts_, mine.positions, all_.positions, 1);
  all_.centred = show_rows(centred_, mine.centred, d_);
  all_.error = show_rows(error_, mine.error, d_);
  if (mine.prefixes.size() > 1) all_.prefix_pull = show_rows(prefix_pull_, mine.prefix_pull, mine.stride());
  gather_codes(mine.codes, all_.codes);
  all_.with_aux = false;
  return all_;
}

const StepRows& Exchange::collect_dead(const StepRows& mine) {
  if (!gathers()) return mine;
  all_.aux_gradient = show_rows(aux_gradient_, mine.aux_gradient, d_);
  gather_codes(mine.aux, all_.aux);
  all_.with_aux = true;
  return all_;
}

StepMoments Exchange::moments(const StepRows& seen) const {
  StepMoments moments = moments_of(seen);
  if (!gathers()) comm::sum(comm_, moments.sums);
  return moments;
}

std::vector<std::uint8_t> Exchange::fired(const StepRows& seen) const {
  std::vector<Index> marks(at(latents_), 0);
  for (Index s = 0; s < seen.codes.entries(); ++s)
    if (seen.codes.value[at(s)] > 0) marks[at(seen.codes.index[at(s)])] = 1;
  if (!gathers()) comm::sum(comm_, marks);
  std::vector<std::uint8_t> fired;
  fired.reserve(marks.size());
  for (const Index mark : marks) fired.push_back(mark > 0 ? 1 : 0);
  return fired;
}

void Exchange::gradients(const StepRows& seen, const FlatParameters& parameters, float scale, FlatParameters& share,
                         const std::function<void(Index)>& each) {
  if (reduction_ == Reduction::fast && comm_.size() > 1) {
    sum_gradients(seen, parameters, scale, share);
    for_pieces((share.latents + latent_piece - 1) / latent_piece, [&](Index piece) {
      for (Index i = piece * latent_piece; i < std::min(share.latents, (piece + 1) * latent_piece); ++i) each(i);
    });
    return;
  }
  SharedSums sums = weight_gradients(seen, architecture_, parameters, first(), scale, share, each);
  const auto pieces = comm_.size() > 1 ? comm::all_gather(comm_, sums.through_encoder) : std::move(sums.through_encoder);
  auto b_dec = share.b_dec();
  std::copy(sums.error.begin(), sums.error.end(), b_dec.begin());
  for (std::size_t i = 0; i < pieces.size(); ++i) b_dec[i % at(d_)] += pieces[i];
}

void Exchange::sum_gradients(const StepRows& mine, const FlatParameters& parameters, float scale, FlatParameters& share) {
  bool first_part = true;
  sum_parts(
      [&](Index first, FlatParameters& part) {
        const SharedSums sums = weight_gradients(mine, architecture_, parameters, first, scale, part);
        auto b_dec = part.b_dec();
        std::fill(b_dec.begin(), b_dec.end(), 0.0F);
        if (first_part) std::copy(sums.error.begin(), sums.error.end(), b_dec.begin()); // the same for every part
        first_part = false;
        for (std::size_t i = 0; i < sums.through_encoder.size(); ++i) b_dec[i % at(d_)] += sums.through_encoder[i];
      },
      share);
}

void Exchange::sum_parts(const std::function<void(Index, FlatParameters&)>& fill, FlatParameters& share) {
  for (std::size_t owner = owners_.size(); owner < counts_.size(); ++owner)
    owners_.emplace_back(d_, counts_[owner], architecture_.scalars());
  Reductions reductions(comm_);
  std::vector<float> b_dec(at(d_), 0.0F);
  for (int owner = 0; owner < comm_.size(); ++owner) { // in the same order everywhere, as MPI wants it
    auto& part = owners_[at(owner)];
    fill(firsts_[at(owner)], part);
    add_scaled(b_dec.data(), part.b_dec().data(), 1.0F, d_);
    reductions.start(part.of_latents(), owner);
  }
  comm::sum(comm_, b_dec);
  reductions.finish();
  bytes_ += static_cast<double>(comm_.size() - 1) * static_cast<double>(share.of_latents().size()) * sizeof(float);
  std::swap(share, owners_[at(comm_.rank())]);
  std::copy(b_dec.begin(), b_dec.end(), share.b_dec().begin());
}

double Exchange::sum_over_latents(const std::vector<double>& mine) const {
  double sum = 0;
  for (const double number : comm_.size() > 1 ? comm::all_gather(comm_, mine) : mine) sum += number;
  return sum;
}

FlatParameters Exchange::parameters() {
  return {d_, latents_, architecture_.scalars(), weights_->values()};
}

void Exchange::spread() {
  if (comm_.size() == 1) return;
  bytes_ += weights_->share(0, counts_, d_);
  bytes_ += weights_->share(latents_ * d_, counts_, d_);
  spread_scalars();
}

void Exchange::spread_scalars() {
  if (comm_.size() == 1) return;
  for (Index s = 0; s < architecture_.scalars(); ++s) bytes_ += weights_->share(latents_ * (2 * d_ + s), counts_, 1);
}

void Exchange::take_share(std::span<const float> all, FlatParameters& share) const {
  const Index rows = latents_ * d_;
  std::copy_n(all.begin() + first() * d_, count() * d_, share.encoder().begin());
  std::copy_n(all.begin() + rows + first() * d_, count() * d_, share.decoder().begin());
  for (Index s = 0; s < share.scalars; ++s) std::copy_n(all.begin() + 2 * rows + s * latents_ + first(), count(), share.scalar(s).begin());
}

void Exchange::take_share_into_all(std::span<const float> all, FlatParameters& parameters) const {
  const auto copy = [&](Index begin, Index n) { std::copy_n(all.begin() + begin, n, parameters.of_latents().begin() + begin); };
  copy(first() * d_, count() * d_);
  copy(latents_ * d_ + first() * d_, count() * d_);
  for (Index s = 0; s < parameters.scalars; ++s) copy(latents_ * (2 * d_ + s) + first(), count());
}

double Exchange::bytes_a_step(Index rows, double active) const {
  const auto others = static_cast<double>(comm_.size() - 1) / static_cast<double>(comm_.size());
  const double sums = 4.0 * static_cast<double>(latents_) * static_cast<double>(2 * d_ + architecture_.scalars()) * others;
  const auto of_node = static_cast<double>(weights_->ranks_a_copy()) / static_cast<double>(comm_.size());
  const double weights = 4.0 * static_cast<double>(latents_) * static_cast<double>(2 * d_ + architecture_.scalars()) * (1 - of_node);
  const double per_code = 12 + 4 * static_cast<double>(architecture_.scalars() - 1);
  const auto vectors = static_cast<double>(architecture_.prefixes().size() > 1 ? 2 + architecture_.prefixes().size() : 2);
  const double gathered =
      static_cast<double>(rows) * (4 * vectors * static_cast<double>(d_) * (1 - of_node) + (per_code * active + 16) * others);
  return weights + (reduction_ == Reduction::reproducible ? gathered : sums);
}

} // namespace concord::sae
