#pragma once
/// What the removal of a concept's subspace does to a model's predictions at the occurrences of another.
///
/// At an occurrence of c' the rows x of the span behind a layer are replaced by x - U_c U_c^T (x - mu), mu the mean over the phrases that
/// members are chosen on, and the later blocks run. Over the span's last row and `after` rows behind it
///   K(c, c') = mean KL(p || p') = mean sum_v p_v ln(p_v / p'_v)   of the next token, clean against changed, in nats, and
///   E(c, c') = mean of the loss with the change less the loss without, in nats a token, over rows that have a next token.
/// Rows in front of the span do not change, since attention looks back; what other rows took from the span in earlier layers stays. The
/// energy e(c, c') = mean ||U_c^T (x - mu)||^2 / mean ||x - mu||^2 says how much was taken out.
///
/// A resampled removal puts y, the rows of another span of the same length, in the place of mu: x - U_c U_c^T (x - y). That span is of
/// another concept than c and c'. The result stays among rows that occur, but takes the noise of y with it. Its
/// energy is mean ||U_c^T (x - y)||^2 / mean ||x - mu||^2, the change in the units of the removal's, and may exceed 1.
///
/// A basis with Basis::read is removed obliquely, x - U R^T (x - mu), and takes mean ||R^T (x - mu)||^2.

#include "concord/subspaces/bases/bases.hpp"
#include "concord/subspaces/effects/model_shard.hpp"

#include <functional>
#include <vector>

namespace concord::subspaces {

/// A removal at one span.
struct Effect {
  double kl = 0;     ///< nats
  double loss = 0;   ///< nats; NaN where no row has a next token
  double energy = 0; ///< sum over the span's rows of ||U^T (x - mu)||^2
};

/// The effects of every basis on every span that this rank has; energy_of_span: sum over its rows of ||x - mu||^2. Of a model in shards the
/// one that changes rows knows the energies and the last one the rest: what a rank does not know is NaN.
struct SpanEffects {
  std::vector<std::int32_t> span;     ///< numbers of the spans, ascending
  std::vector<Effect> effects;        ///< [spans, bases]
  std::vector<double> energy_of_span; ///< [spans]
};

/// Rows that take the place of a span's in a resampled removal.
struct Swap {
  std::vector<std::vector<float>> rows; ///< of each donor, [rows of the span, d]
  std::vector<int> donor;               ///< of each basis; -1: none, and the effect is NaN
};
using SwapOf = std::function<Swap(std::int32_t span)>;

/// A context and the spans in it.
struct ContextSpans {
  Index first_row = 0;             ///< of the context
  std::vector<std::int32_t> ids;   ///< of its tokens
  std::vector<std::int32_t> spans; ///< numbers
};

class ChangedRuns;

class Removals {
public:
  /// @param shard of the model, or the model whole; @param layer behind which rows are changed (-1: the embedding)
  /// @param bases those that are removed, each [d, k]
  Removals(ModelShard shard, int layer, const std::vector<double>& centre, const std::vector<const Basis*>& bases, Index after);
  /// Adds the effects on the spans of one context to `out`. The bits of a span's effects do not depend on the others, nor on shards. Local
  /// of a whole model, else one call of every shard.
  void run(const ContextSpans& context, const std::vector<Span>& spans, SpanEffects& out) const;
  /// The same of resampled removals. Without any donor the span's energy is NaN, too. Where no rows are changed `swap_of` need not fill
  /// them in.
  void run_resampled(const ContextSpans& context, const std::vector<Span>& spans, const SwapOf& swap_of, SpanEffects& out) const;

private:
  void put_bases(const std::vector<const Basis*>& bases, Index d);
  /// Whether this shard adds anything to what is known of a span.
  bool tells() const { return shard_.changes(layer_) || shard_.is_last(); }
  void of_span(const ChangedRuns& runs, const ContextSpans& context, std::int32_t number, const Span& span, const Swap* swap,
               SpanEffects& out) const;
  ModelShard shard_;
  int layer_;
  Index after_;
  Index count_;       ///< of bases
  at::Tensor centre_; ///< [d]; this and what follows where rows are changed
  at::Tensor bases_;  ///< [bases + 1, d, k], directions that a basis lacks being 0
  at::Tensor reads_;  ///< of the same shape: what coefficients are read off
};

} // namespace concord::subspaces
