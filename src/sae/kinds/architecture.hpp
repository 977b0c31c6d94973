#pragma once
/// What one kind of SAE adds to a step of training: how codes come from pre-activations, which penalty joins the error, and how
/// gradients go back through both. One file a kind: top_k, batch_top_k, matryoshka, relu, gated, jump_relu. Local, but where a
/// member says that it is collective.
///
/// All of them: h = W_enc (x - b_dec) + b_enc, codes a(h), reconstruction x^ = a W_dec + b_dec, and the loss
///   L = 1/B sum_rows ( |x^ - x|^2 + lambda penalty(a) )  +  AuxK (step.hpp),
/// B rows of all ranks. Decoder rows are unit vectors, so a |W_dec[j]|, which some sources penalise, is a.

#include "concord/comm/session.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/search/screen.hpp"
#include "concord/sae/settings.hpp"

#include "sae/gpu/decoding.hpp"
#include "sae/step/step_rows.hpp"
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::sae {

struct ArchitectureSettings {
  Kind kind = Kind::topk;
  Index d = 0;
  Index latents = 0;
  Index batch = 0;                 ///< B, rows of all ranks
  int k = 32;                      ///< of the TopK kinds
  int prefixes = 5;                ///< of matryoshka
  double sparsity = 0;             ///< lambda of the others
  Penalty penalty = Penalty::step; ///< of jumprelu
  double bandwidth = 0;            ///< of jumprelu
  double threshold = 0;            ///< of jumprelu, at the start
  std::vector<Index> parts;        ///< widths of the models of a crosscoder; one for an SAE
  float scale() const { return static_cast<float>(2.0 / static_cast<double>(batch)); }
};

class Architecture {
public:
  Architecture(const comm::Communicator& comm, const ArchitectureSettings& settings);
  virtual ~Architecture() = default;
  Architecture(const Architecture&) = delete;
  Architecture& operator=(const Architecture&) = delete;

  /// Numbers a latent has beside its two rows, b_enc first.
  virtual Index scalars() const { return 1; }
  /// Ends of the prefixes of the latents that the loss looks at.
  virtual std::vector<std::int32_t> prefixes() const { return {static_cast<std::int32_t>(settings_.latents)}; }
  /// Scalars of latents [first, first + count) at the start.
  virtual void initialise(FlatParameters& /*parameters*/, Index /*first*/, Index /*count*/) const {}
  /// Codes of rows x - b_dec [n, d]. Collective where the choice is among the rows of all ranks.
  virtual void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) = 0;
  /// Gradients of codes: from dL/da of the error to dL/dh and the extras, the penalty times `warmth` (its warm-up) included. Returns
  /// the sum of lambda penalty(a) over the rows.
  virtual double backward(const FlatParameters& /*parameters*/, StepRows& /*rows*/, float /*warmth*/) { return 0; }
  /// What gradients of latent j (place i of `gradients`) need beside sums over codes. `values`: sum of a. Linear in both.
  virtual void finish_gradients(const FlatParameters& /*parameters*/, Index /*j*/, float /*values*/, FlatParameters& /*gradients*/,
                                Index /*i*/) const {}
  /// Behind Adam: keeps the scalars of latents [first, first + count) where they belong.
  virtual void constrain(FlatParameters& /*parameters*/, Index /*first*/, Index /*count*/) const {}
  /// The inference SAE's kind, threshold and further scalars; its weights are there, in the scale of training.
  virtual void describe(const FlatParameters& parameters, Sae& sae) const = 0;
  /// What a restart needs beside the weights.
  virtual std::vector<double> state() const { return {static_cast<double>(screen_.precision())}; }
  virtual void set_state(std::span<const double> state);

  /// lambda/B of a penalty sum_j a_j |W_dec[j]| by models, which moves the decoder; 0: there is none.
  virtual float decoder_penalty() const { return 0; }

  /// What the architecture has of another's while this lives.
  template <typename T>
  class [[nodiscard]] Loan {
  public:
    Loan(T*& place, T& lent) : place_(place) { place_ = &lent; }
    ~Loan() { place_ = nullptr; }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;

  private:
    T*& place_;
  };
  /// Lets encode() ask another search than its own.
  Loan<LatentSearch> search_by(LatentSearch& search) { return {search_, search}; }
  /// Lets backward() ask who holds the decoder, instead of reading it from the parameters.
  Loan<Decoding> decode_by(Decoding& decoding) { return {decoding_, decoding}; }
  /// Latents computed in f32 in the last encode(), a row.
  double computed_per_row() const { return screen_.computed_per_row(); }
  const ArchitectureSettings& settings() const { return settings_; }
  const comm::Communicator& comm() const { return comm_; }

protected:
  const comm::Communicator& comm_;
  ArchitectureSettings settings_;
  LatentSearch& search() { return search_ != nullptr ? *search_ : screen_; }
  Decoding* decoding() const { return decoding_; }
  Screen screen_;

private:
  LatentSearch* search_ = nullptr;
  Decoding* decoding_ = nullptr;
};

/// What is the same for all SAEs of a kind.
struct ArchitectureKind {
  Kind kind;
  double learning_rate; ///< Adam's default, at F = 2^14
  double beta1;         ///< of Adam
  bool penalised;       ///< has a lambda
  std::unique_ptr<Architecture> (*make)(const comm::Communicator& comm, const ArchitectureSettings& settings);
};
const std::vector<ArchitectureKind>& architecture_kinds();
const ArchitectureKind& architecture_kind(Kind kind);
/// Fills in lambda, bandwidth and threshold where they are 0, for training rows of mean norm n: errors go with n^2 and codes with n, so
/// lambda is 0.08 n for relu and gated and 2.5e-3 n^2 for jumprelu's tanh (Anthropic's 5 and 10 at n = 64), 6e-4 n^2 for its step (Gemma
/// Scope at n = 1); bandwidth and threshold 1e-3 n (Gemma Scope), for tanh 0.03 n and 1.5e-3 n (Anthropic's 2 and 0.1).
/// @throws Error config when `norm` is 0, not known, and they are needed.
ArchitectureSettings with_defaults(ArchitectureSettings settings, double norm);
/// The communicator must outlive it.
std::unique_ptr<Architecture> make_architecture(const comm::Communicator& comm, const ArchitectureSettings& settings);

} // namespace concord::sae
