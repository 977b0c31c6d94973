#pragma once
/// Exact Pearson correlation of every feature of A with every feature of B from their non-zeros. Collective over `comm`.
///
///   r_ij = (N S_ij - S_i S_j) / sqrt((N S_ii - S_i^2) (N S_jj - S_j^2)),   S_ij = sum over rows of a_i b_j
///
/// Output-stationary: the pair (i, j) belongs to one rank of a grid, which adds up S_ij over all rows in row order in float64. So every
/// number has the same bits at any number of ranks, on any grid, in any pieces, on CPUs and GPUs. The matrix is never stored; the best
/// partners of each feature are kept. Work: sum over rows of nnz_A(row) nnz_B(row).

#include "concord/comm/session.hpp"
#include "concord/correlate/null_size.hpp"

#include "correlate/null/null_sample.hpp"
#include "correlate/shares/feature_share.hpp"
#include "correlate/sums/best_partners.hpp"
#include <functional>
#include <memory>
#include <vector>

namespace concord::correlate {

/// What adds up and looks through the sums: the CPU, a GPU, or the GPU's kernels lane by lane on the CPU, to check them. All give the same
/// bits.
enum class SumsBy { cpu, gpu, emulated_gpu };
/// The most partners a feature that a GPU keeps.
inline constexpr Index most_partners_on_gpu = 64;

struct PearsonSettings {
  Index best = 16;                        ///< partners kept a feature
  Index shift = 0;                        ///< row t of A stands beside row (t + shift) mod N of B; exceeding() and for_each_row() want 0
  std::vector<Index> shifts;              ///< in [0, N): for a null, row t of A is also set beside row (t + shift) mod N of B
  Index null_features = 0;                ///< features of a side whose null is taken at each shift, at least (null_size.hpp); 0: all
  Index null_values = fewest_null_values; ///< of a side, fewer of which are no sample
  std::uint64_t seed = 1;                 ///< of their draw
  double memory = 4.0 * (1 << 30);        ///< bytes a rank
  int threads = 1;
  double unstopped_seconds = 5; ///< of a pair, in which it heeds no stop: short pairs end in runs that are always cut short
  int grid_columns = 0;         ///< of the grid of ranks; 0: by size
  Index block = 1 << 14;        ///< features of B whose sums are taken together; 65,536 at most, 2,048 on a GPU
  SumsBy sums_by = SumsBy::cpu;
  int gpu = -1;          ///< its number among those that this process sees
  double gpu_memory = 0; ///< bytes of it for this rank
};

/// On rank 0; elsewhere only the samples are known.
struct PairCorrelation {
  BestPartners a_to_b;
  BestPartners b_to_a;
  std::vector<double> null_a; ///< [shifts, F_A] the largest r that the feature has with shifted rows; 0 at least. Or of the sample
  std::vector<double> null_b; ///< [shifts, F_B]
  NullSample sample_a;        ///< empty where all features were taken, on both sides
  NullSample sample_b;
};

/// Correlates pairs of layers of the same rows; what was loaded of a layer is kept for the next pair while memory allows.
class PairCorrelator {
public:
  PairCorrelator(const comm::Communicator& comm, PearsonSettings settings);
  ~PairCorrelator();
  PairCorrelator(const PairCorrelator&) = delete;
  PairCorrelator& operator=(const PairCorrelator&) = delete;
  /// Turns to a pair. The sources must live while it is at hand; `layer_a` and `layer_b` name them for what is kept. Where the null is of a
  /// sample, B's part of it is taken here.
  /// @throws as FeatureSource::read; stopped, as all that follows; agreed.
  void open(const FeatureSource& a, int layer_a, const FeatureSource& b, int layer_b);
  PairCorrelation correlate();
  /// All pairs with r > limit_a[i] + limit_b[j], in ascending (a, b); on rank 0, none elsewhere. Limits are given on rank 0: infinite for
  /// features that are not asked for.
  std::vector<Exceeding> exceeding(std::vector<double> limit_a, std::vector<double> limit_b);
  /// Calls `row` with the correlations of one feature of A with all of B (0 without variance) and the rows on which both are active, on the
  /// rank that owns it; dead features have no owner. The grid must have one column. One call at a time.
  using RowVisit = std::function<void(std::int32_t feature, const std::vector<double>& r, const std::vector<std::int32_t>& cofire)>;
  void for_each_row(const RowVisit& row);

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A pair by itself. @param a, b the same on every rank.
PairCorrelation best_correlations(const comm::Communicator& comm, const io::CsrMatrix& a, const io::CsrMatrix& b,
                                  const PearsonSettings& settings);

} // namespace concord::correlate
