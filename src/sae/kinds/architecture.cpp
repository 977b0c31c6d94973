#include "sae/kinds/architecture.hpp"

#include "concord/core/error.hpp"

#include "sae/kinds/kinds.hpp"
#include <cmath>

namespace concord::sae {
Architecture::Architecture(const comm::Communicator& comm, const ArchitectureSettings& settings)
    : comm_(comm), settings_(settings), screen_(settings.d, Screen::Precision::int8, comm.size() > 1 ? &comm : nullptr) {
  if (settings_.parts.empty()) settings_.parts = {settings.d};
}

void Architecture::set_state(std::span<const double> state) {
  require(state[0] == 0 || state[0] == 1 || state[0] == 2, ExitCode::bad_data, "a checkpoint names the precision {}, which there is not",
          state[0]);
  screen_.set_precision(static_cast<Screen::Precision>(static_cast<int>(state[0])));
}

const std::vector<ArchitectureKind>& architecture_kinds() {
  static const std::vector<ArchitectureKind> kinds{{Kind::topk, 2e-4, 0.9, false, make_top_k},
                                                   {Kind::batch_topk, 2e-4, 0.9, false, make_batch_top_k},
                                                   {Kind::matryoshka, 2e-4, 0.9, false, make_matryoshka},
                                                   {Kind::relu, 2e-4, 0.9, true, make_relu},
                                                   {Kind::gated, 2e-4, 0.9, true, make_gated},
                                                   {Kind::jumprelu, 7e-5, 0.0, true, make_jump_relu}};
  return kinds;
}

const ArchitectureKind& architecture_kind(Kind kind) {
  return architecture_kinds().at(static_cast<std::size_t>(kind));
}

ArchitectureSettings with_defaults(ArchitectureSettings s, double norm) {
  if (!architecture_kind(s.kind).penalised) return s;
  const bool jumps = s.kind == Kind::jumprelu;
  const bool smooth = jumps && s.penalty == Penalty::tanh;
  require(norm > 0 || (s.sparsity > 0 && (!jumps || (s.bandwidth > 0 && s.threshold > 0))), ExitCode::config,
          "with sae.normalise = \"none\" a {} SAE needs sae.sparsity{}: their defaults hold for normalised rows", settings::word_of(s.kind),
          jumps ? ", sae.bandwidth and sae.threshold" : "");
  if (s.sparsity <= 0) s.sparsity = jumps ? (smooth ? 2.5e-3 : 6e-4) * norm * norm : 0.08 * norm;
  if (s.bandwidth <= 0) s.bandwidth = (smooth ? 0.03 : 1e-3) * norm;
  if (s.threshold <= 0) s.threshold = (smooth ? 1.5e-3 : 1e-3) * norm;
  return s;
}

std::unique_ptr<Architecture> make_architecture(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return architecture_kind(settings.kind).make(comm, settings);
}

} // namespace concord::sae
