// Gated SAE (Rajamanoharan et al. 2024, arXiv 2404.16014). Local.
//   gate p = W_enc (x - b_dec) + b_gate;  magnitude m = exp(r_mag) (p - b_gate) + b_mag;  a = relu(m) where p > 0, else 0;
//   penalty = sum_j relu(p_j), and the loss has the error |x^' - x|^2 of x^' = relu(p) W_dec + b_dec with W_dec and b_dec
//   held constant (SAELens lets both move, against the paper).
// With g_m = dL/da where m > 0 and g_p = lambda/B + 2/B <x^' - x, W_dec[j]>, all where p > 0:
//   dL/d(W_enc[j] (x - b_dec)) = g_p + exp(r_mag) g_m,  b_gate: g_p,  b_mag: g_m,  r_mag: g_m (m - b_mag).
// The scalars of a latent: b_gate (in the place of b_enc), b_mag, r_mag.

#include "sae/kinds/kinds.hpp"
#include "sae/numbers/decode.hpp"
#include <cmath>

namespace concord::sae {
namespace {

constexpr Index b_mag = 1;
constexpr Index r_mag = 2;

float magnitude(const FlatParameters& p, float gate, std::int32_t j) {
  return std::exp(p.scalar(r_mag)[at(j)]) * (gate - p.b_enc()[at(j)]) + p.scalar(b_mag)[at(j)];
}

class Gated final : public Architecture {
public:
  using Architecture::Architecture;
  Index scalars() const override { return 3; }
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  double backward(const FlatParameters& parameters, StepRows& rows, float warmth) override;
  void finish_gradients(const FlatParameters& parameters, Index j, float values, FlatParameters& gradients, Index i) const override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;

private:
  void take_gradients(const FlatParameters& parameters, Codes& codes, float strength) const;
  double add_pull(const FlatParameters& parameters, StepRows& rows) const;
  std::vector<float> gates_; ///< relu(p) of each entry
};

void Gated::encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) {
  search().update(parameters.encoder(), parameters.b_enc(), {}, {});
  search().above(centred, 0.0F, codes);
  keep_positive(codes);
  codes.extras = 2;
  gates_ = codes.value;
  for_rows(codes.rows(), [&](Index r) {
    for (Index s = codes.begin(r); s < codes.end(r); ++s)
      codes.value[at(s)] = std::max(0.0F, magnitude(parameters, gates_[at(s)], codes.index[at(s)]));
  });
}

double Gated::backward(const FlatParameters& parameters, StepRows& rows, float warmth) {
  const float strength = warmth * static_cast<float>(settings_.sparsity / static_cast<double>(settings_.batch));
  Codes& codes = rows.codes;
  take_gradients(parameters, codes, strength);
  std::vector<double> gates(at(rows.count()), 0.0);
  for_rows(rows.count(), [&](Index r) {
    for (Index s = codes.begin(r); s < codes.end(r); ++s) gates[at(r)] += static_cast<double>(gates_[at(s)]);
  });
  const double squared =
      decoding() != nullptr ? decoding()->add_pull(gates_, settings_.scale(), codes.gradient) : add_pull(parameters, rows);
  return squared + settings_.sparsity * sum_in_order(gates);
}

/// Decoding::add_pull() of the gates.
double Gated::add_pull(const FlatParameters& parameters, StepRows& rows) const {
  Codes& codes = rows.codes;
  const Index d = rows.d;
  const auto latents = static_cast<std::int32_t>(settings_.latents);
  const float* decoder = parameters.decoder().data();
  std::vector<double> squares(at(rows.count()), 0.0);
  for_row_pieces(rows.count(), [&](Index begin, Index end) {
    thread_local std::vector<float> errors; // of x^', of the piece
    errors.resize(at(row_piece * d));
    float* of_first_row = errors.data() - begin * d;
    for (Index i = begin * d; i < end * d; ++i) of_first_row[i] = -rows.centred[at(i)];
    decode_rows(codes, gates_.data(), decoder, d, 0, latents, begin, end, of_first_row);
    add_products(codes, of_first_row, d, decoder, d, settings_.scale(), 0, latents, begin, end, codes.gradient.data());
    for (Index r = begin; r < end; ++r) squares[at(r)] = dot(of_first_row + r * d, of_first_row + r * d, d);
  });
  return sum_in_order(squares);
}

/// From dL/da to the gradients of p by the penalty and by the magnitude, and those of b_mag and r_mag.
void Gated::take_gradients(const FlatParameters& parameters, Codes& codes, float strength) const {
  for_rows(codes.rows(), [&](Index r) {
    for (Index s = codes.begin(r); s < codes.end(r); ++s) {
      const std::int32_t j = codes.index[at(s)];
      const float of_magnitude = codes.value[at(s)] > 0 ? codes.gradient[at(s)] : 0.0F;
      codes.extra[at(2 * s)] = of_magnitude;
      codes.extra[at(2 * s + 1)] = of_magnitude * (codes.value[at(s)] - parameters.scalar(b_mag)[at(j)]);
      codes.gradient[at(s)] = strength + std::exp(parameters.scalar(r_mag)[at(j)]) * of_magnitude;
    }
  });
}

/// The sum over entries is that of p and m together; b_gate takes part in p alone.
void Gated::finish_gradients(const FlatParameters& parameters, Index j, float /*values*/, FlatParameters& gradients, Index i) const {
  gradients.b_enc()[at(i)] -= std::exp(parameters.scalar(r_mag)[at(j)]) * gradients.scalar(b_mag)[at(i)];
}

void Gated::describe(const FlatParameters& parameters, Sae& sae) const {
  sae.architecture = Sae::Architecture::gated;
  sae.b_mag.assign(parameters.scalar(b_mag).begin(), parameters.scalar(b_mag).end());
  sae.r_mag.assign(parameters.scalar(r_mag).begin(), parameters.scalar(r_mag).end());
}

} // namespace

std::unique_ptr<Architecture> make_gated(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return std::make_unique<Gated>(comm, settings);
}

} // namespace concord::sae
