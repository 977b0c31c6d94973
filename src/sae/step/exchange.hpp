#pragma once
/// How the ranks of a training share its work: rows are dealt to all of them for the forward pass, latents for gradients and
/// Adam. Collective over `comm` where it does not say Local.
///
/// `reproducible`: every rank sees all rows of the batch (x and errors, B 8 d bytes a node, and codes, B (12 L0 + 16) bytes a rank) and
/// makes the gradients of its own latents from them, in the order of the batch: the same bits at any number of ranks. `fast`: every rank
/// makes the gradients of all latents from its own rows, and those of each owner are summed there while the next owner's are made: 8 F d
/// bytes. Either way the owners' new weights go to every node (8 F d bytes), and no rank holds Adam's moments of more than its own latents.
/// The weights themselves are there once a node, in memory that its ranks share: each rank writes its own latents' and reads all. With B
/// below F `reproducible` moves less.

#include "concord/comm/node/node_array.hpp"
#include "concord/comm/session.hpp"

#include "sae/kinds/architecture.hpp"
#include "sae/step/step_rows.hpp"
#include <functional>
#include <memory>
#include <span>

namespace concord::sae {

class Exchange {
public:
  Exchange(const comm::Communicator& comm, const Architecture& architecture, Reduction reduction);
  /// This rank's latents: [first(), first() + count()). Local.
  Index first() const { return firsts_[static_cast<std::size_t>(comm_.rank())]; }
  Index count() const { return counts_[static_cast<std::size_t>(comm_.rank())]; }

  /// All latents' weights, zeros at first, in the node's memory, which this object holds. Local.
  FlatParameters parameters();
  /// That memory, for whom needs it longer. Local.
  std::shared_ptr<comm::NodeArray> memory() const { return weights_; }
  /// The rows that this rank makes gradients from: all of the batch, or its own.
  const StepRows& collect(const StepRows& mine);
  /// The same with AuxK's part, behind Step::backward_dead.
  const StepRows& collect_dead(const StepRows& mine);
  /// Of the whole batch.
  StepMoments moments(const StepRows& seen) const;
  /// Marks the latents that fired on any row of the batch.
  std::vector<std::uint8_t> fired(const StepRows& seen) const;
  /// Gradients of the whole batch for this rank's latents; that of b_dec on every rank. `each` is called with the place of a
  /// latent in the share when its gradients are done, by several threads.
  void gradients(const StepRows& seen, const FlatParameters& parameters, float scale, FlatParameters& share,
                 const std::function<void(Index i)>& each);
  /// Sums what `fill(first, part)` gives of each owner's latents on every rank at that owner, while the next part is made: into `share`,
  /// b_dec's on every rank. `fill` sets b_dec of `part` to this rank's whole gradient of it, or a part of it that the calls add up to.
  void sum_parts(const std::function<void(Index first, FlatParameters& part)>& fill, FlatParameters& share);
  /// Sum of numbers that each rank has for its latents, in the order of the latents.
  double sum_over_latents(const std::vector<double>& mine) const;
  /// Makes every rank's latents of parameters() known to all. Between it and the next call, nobody may write to them but behind a
  /// collective step that all reach after their last look.
  void spread();
  /// The same of the scalars alone.
  void spread_scalars();
  /// The latents of each rank: [first, first + count). Local.
  const std::vector<Index>& firsts() const { return firsts_; }
  const std::vector<Index>& counts() const { return counts_; }
  /// This rank's share of all, which have the layout of FlatParameters::of_latents(). Local.
  void take_share(std::span<const float> all, FlatParameters& share) const;
  /// The same into this rank's latents of parameters(). Local.
  void take_share_into_all(std::span<const float> all, FlatParameters& parameters) const;
  /// Bytes that this rank receives for a step of `rows` rows of the batch with `active` codes each, without AuxK. Local.
  double bytes_a_step(Index rows, double active) const;
  /// Bytes that this rank has received by steps so far, as its calls counted them. Local.
  double bytes_received() const { return bytes_; }

private:
  bool gathers() const { return reduction_ == Reduction::reproducible && comm_.size() > 1; }
  void sum_gradients(const StepRows& mine, const FlatParameters& parameters, float scale, FlatParameters& share);
  std::span<const float> show_rows(std::unique_ptr<comm::NodeArray>& array, std::span<const float> mine, Index width);
  void gather_codes(const Codes& mine, Codes& all);
  template <typename T>
  void gather_rows(const std::vector<Index>& counts, const std::vector<T>& mine, std::vector<T>& all, Index width);
  const comm::Communicator& comm_;
  const Architecture& architecture_;
  std::shared_ptr<comm::NodeArray> weights_;
  Index d_;
  Index latents_;
  Reduction reduction_;
  std::vector<Index> firsts_; ///< of each rank
  std::vector<Index> counts_;
  std::vector<Index> row_counts_;
  StepRows all_; ///< of these, a copy a node:
  std::unique_ptr<comm::NodeArray> centred_, error_, prefix_pull_, aux_gradient_;
  mutable double bytes_ = 0;
  std::vector<FlatParameters> owners_; ///< of sum_parts(): gradients of each owner's latents from this rank's rows
};

} // namespace concord::sae
