#include "sae/gpu/device_step.hpp"

#include "concord/core/error.hpp"

#include "comm/gpu/gpu_memory.hpp"
#include "sae/gpu/device_search.hpp"
#include "sae/numbers/rows.hpp"

namespace concord::sae {
namespace {

/// Codes as the sums over them take them.
struct CodesThere {
  Bags rows; ///< of the batch, as bags of latents
  Tensor values;
  Tensor gradients; ///< dL/dh
};

} // namespace

/// What lies on the device.
struct DeviceStep::Tensors final : public Decoding {
  at::Device device;
  Index d, latents, scalars, first, count;
  std::vector<Index> parts;                          ///< columns of each model
  std::vector<Tensor> weights;                       ///< encoder [F, d], decoder [F, d], scalars [scalars, F], b_dec [d]
  std::vector<Tensor> gradients;                     ///< the same
  std::vector<Tensor> first_moments, second_moments; ///< of this rank's latents, and of b_dec
  double beta1;
  Tensor scales;                       ///< [d] of stored rows
  Tensor centred, error, aux_gradient; ///< [n, d]
  Tensor pull;                         ///< [n, prefixes, d], or error
  CodesThere codes, aux;
  DeviceSearch search;

  Tensors(const ArchitectureSettings& s, Index n_scalars, int gpu, Index first_latent, Index n_latents, double first_beta)
      : device(gpu >= 0 ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)) : at::Device(at::kCPU)), d(s.d), latents(s.latents),
        scalars(n_scalars), first(first_latent), count(n_latents), parts(s.parts), beta1(first_beta) {
    const at::TensorOptions options = at::TensorOptions(at::kFloat).device(device);
    for (auto* all : {&weights, &gradients})
      *all = {at::zeros({latents, d}, options), at::zeros({latents, d}, options), at::zeros({scalars, latents}, options),
              at::zeros({d}, options)};
    for (const auto& weight : own(weights)) {
      first_moments.push_back(at::zeros_like(weight, at::MemoryFormat::Contiguous));
      second_moments.push_back(at::zeros_like(weight, at::MemoryFormat::Contiguous));
    }
  }

  const Tensor& encoder() const { return weights[0]; }
  const Tensor& decoder() const { return weights[1]; }
  Tensor b_enc() const { return weights[2][0]; }
  const Tensor& b_dec() const { return weights[3]; }

  /// Views of this rank's part: of the matrices rows, of the scalars columns; b_dec is everybody's.
  std::vector<Tensor> own(const std::vector<Tensor>& all) const { return part(all, first, count); }
  static std::vector<Tensor> part(const std::vector<Tensor>& all, Index begin, Index n) {
    return {all[0].narrow(0, begin, n), all[1].narrow(0, begin, n), all[2].narrow(1, begin, n), all[3]};
  }

  /// Parts of `all` to the host, as latents [to_first, to_first + n) of `to`.
  static void give(const std::vector<Tensor>& of_part, FlatParameters& to, Index to_first) {
    const Index n = of_part[0].size(0);
    const Index width = of_part[0].size(1);
    to_host(of_part[0], to.encoder().subspan(at(to_first * width), at(n * width)));
    to_host(of_part[1], to.decoder().subspan(at(to_first * width), at(n * width)));
    for (Index s = 0; s < to.scalars; ++s) to_host(of_part[2][s], to.scalar(s).subspan(at(to_first), at(n)));
    to_host(of_part[3], to.b_dec());
  }
  static void take(const std::vector<Tensor>& of_part, const FlatParameters& from) {
    fill(of_part[0], from.encoder());
    fill(of_part[1], from.decoder());
    for (Index s = 0; s < from.scalars; ++s) fill(of_part[2][s], from.scalar(s));
    fill(of_part[3], from.b_dec());
  }

  /// Rows of both matrices of each rank's latents.
  static std::vector<comm::Nccl::Part> matrix_parts(const std::vector<Tensor>& all, const std::vector<Index>& firsts,
                                                    const std::vector<Index>& counts) {
    std::vector<comm::Nccl::Part> parts;
    for (std::size_t rank = 0; rank < counts.size(); ++rank)
      for (int i = 0; i < 2 && counts[rank] > 0; ++i) {
        const Tensor rows = all[at(i)].narrow(0, firsts[rank], counts[rank]);
        parts.push_back({rows.data_ptr<float>(), rows.numel(), static_cast<int>(rank)});
      }
    return parts;
  }

  // --- what architectures ask of the decoder ----------------------------------------------------------------------------

  double add_pull(const std::vector<float>& values, float scale, std::vector<float>& gradient) override {
    const Tensor errors = codes.rows.sum(decoder(), on<float>(device, values, at::kFloat)).sub_(centred);
    std::vector<float> added(gradient.size());
    to_host<float>(codes.rows.products(errors, decoder()).mul_(scale), added);
    for (std::size_t s = 0; s < added.size(); ++s) gradient[s] += added[s];
    return errors.square().sum(at::kDouble).item<double>();
  }

  std::vector<float> norms_by_model() const override {
    Tensor sums = at::zeros({latents}, decoder().options());
    for_models([&](Index begin, Index width) { sums.add_(decoder().narrow(1, begin, width).norm(2, {1})); });
    std::vector<float> norms(at(latents));
    to_host<float>(sums, norms);
    return norms;
  }

  template <typename Look>
  void for_models(const Look& look) const {
    Index begin = 0;
    for (const Index width : parts) {
      look(begin, width);
      begin += width;
    }
  }

  /// Gradients of strength sum_j values_j |W_dec[j]| by models.
  void add_norm_gradients(float strength, const Tensor& values) {
    for_models([&](Index begin, Index width) {
      const Tensor rows = decoder().narrow(1, begin, width);
      const Tensor factor = values.div(rows.norm(2, {1}).clamp_min(1e-30)).mul_(strength);
      gradients[1].narrow(1, begin, width).addcmul_(rows, factor.unsqueeze(1));
    });
  }

  // --- sums over codes ------------------------------------------------------------------------------------------------

  CodesThere upload(const Codes& host) const {
    std::vector<Index> ends{0};
    ends.insert(ends.end(), host.ends.begin(), host.ends.end());
    const Tensor ends_there = on<Index>(device, ends, at::kLong);
    const Tensor bag = at::arange(host.rows(), ends_there.options()).repeat_interleave(ends_there.diff(), 0, host.entries());
    return {{ends_there, on<std::int32_t>(device, host.index, at::kInt).to(at::kLong), bag}, on<float>(device, host.value, at::kFloat), {}};
  }

  /// Codes sorted by latent, those of one in the order of rows.
  struct ByLatent {
    Tensor order;  ///< of the entries
    Tensor latent; ///< sorted
    Tensor rows;
    Tensor ends; ///< [F + 1]
  };
  ByLatent by_latent(const CodesThere& of) const {
    const auto [latent, order] = of.rows.index.sort(/*stable=*/true, 0, false);
    return {order, latent, of.rows.bag.index_select(0, order), at::searchsorted(latent, at::arange(latents + 1, latent.options()))};
  }

  /// Numbers of the entries summed by latent, without atomics: [F].
  Tensor sums_by_latent(const ByLatent& sorted, const Tensor& of_entries) const {
    const Bags bags{sorted.ends, at::zeros_like(sorted.order), {}};
    return bags.sum(at::ones({1, 1}, of_entries.options()), of_entries.index_select(0, sorted.order)).view({latents});
  }

  /// Gradients of both matrices and of b_enc from codes and what pulls at the rows: latents of prefix g look at rows g, g + stride, ... of
  /// `pulls`. To what is there, or (`first`) instead of it.
  void add_gradients(const CodesThere& of, const ByLatent& sorted, const std::vector<std::int32_t>& prefixes, const Tensor& pulls,
                     float scale, bool first_part) {
    const auto add = [&](std::size_t to, const Bags& bags, const Tensor& table, const Tensor& factors) {
      if (first_part) gradients[to] = Tensor(); // its memory may be taken again
      const Tensor sum = bags.sum(table, factors);
      first_part ? static_cast<void>(gradients[to] = sum) : static_cast<void>(gradients[to].add_(sum));
    };
    add(0, {sorted.ends, sorted.rows, {}}, centred, of.gradients.index_select(0, sorted.order));
    Tensor pull_rows = sorted.rows;
    if (prefixes.size() > 1) {
      const Tensor group =
          at::searchsorted(on<std::int32_t>(device, prefixes, at::kInt).to(at::kLong), sorted.latent, false, /*right=*/true);
      pull_rows = pull_rows.mul(static_cast<Index>(prefixes.size())).add_(group);
    }
    add(1, {sorted.ends, pull_rows, {}}, pulls.reshape({-1, d}), of.values.index_select(0, sorted.order).mul_(scale));
    gradients[2][0].add_(sums_by_latent(sorted, of.gradients));
  }
};

DeviceStep::DeviceStep(Architecture& architecture, Index k_aux, double alpha, int gpu, Index first, Index count, double beta1)
    : architecture_(architecture), k_aux_(k_aux), alpha_(alpha) {
  const auto& s = architecture.settings();
  penalised_ = architecture_kind(s.kind).penalised;
  rows_.d = s.d;
  rows_.prefixes = architecture.prefixes();
  tensors_ = std::make_unique<Tensors>(s, architecture.scalars(), gpu, first, count, beta1);
}

DeviceStep::~DeviceStep() {
  tensors_.reset();
  comm::give_back_gpu_cache();
}

double DeviceStep::bytes(const Architecture& architecture, Index count, Index rows, Index k_aux) {
  const auto& s = architecture.settings();
  // The penalised kinds begin with half of their latents active; BatchTopK's rows differ.
  const double active = architecture_kind(s.kind).penalised ? static_cast<double>(s.latents) / 2 : 1.5 * static_cast<double>(s.k);
  const auto aux = static_cast<double>(std::min(k_aux, s.latents));
  constexpr double of_entry = 80; // latent, row, value, gradient; keys, values and scratch of the sort by latent; what is gathered by it
  const double codes = of_entry * static_cast<double>(rows) * (active + aux);
  const auto matrices = [&](Index latents) {
    return 4.0 * static_cast<double>(FlatParameters::count(s.d, latents, architecture.scalars()));
  };
  const auto of_rows = 4.0 * static_cast<double>(rows * s.d) * (4.0 + 2.0 * static_cast<double>(architecture.prefixes().size()));
  const auto hidden = 4.0 * static_cast<double>(std::min(rows * s.latents, elements_at_once));
  // Weights and gradients, sums of bags on their way there, moments, what Adam makes on its way; pre-activations and what is chosen of
  // them.
  return 2.5 * matrices(s.latents) + 4 * matrices(count) + of_rows + 2.5 * hidden + codes;
}

void DeviceStep::load(const FlatParameters& parameters) {
  Tensors::take(tensors_->weights, parameters);
}

void DeviceStep::load_scalars(const FlatParameters& parameters) {
  for (Index s = 0; s < parameters.scalars; ++s) fill(tensors_->weights[2][s], parameters.scalar(s));
}

void DeviceStep::store(FlatParameters& parameters) const {
  Tensors::give(tensors_->own(tensors_->weights), parameters, tensors_->first);
}

void DeviceStep::store_scalars(FlatParameters& parameters) const {
  const Tensors& t = *tensors_;
  for (Index s = 0; s < parameters.scalars; ++s)
    to_host(t.weights[2][s].narrow(0, t.first, t.count), parameters.scalar(s).subspan(at(t.first), at(t.count)));
}

void DeviceStep::load_moments(const Adam& adam) {
  Tensors::take(tensors_->first_moments, adam.first_moment);
  Tensors::take(tensors_->second_moments, adam.second_moment);
}

void DeviceStep::store_moments(Adam& adam) const {
  Tensors::give(tensors_->first_moments, adam.first_moment, 0);
  Tensors::give(tensors_->second_moments, adam.second_moment, 0);
}

bool DeviceStep::has_dead() const {
  return has_dead_;
}

const StepRows& DeviceStep::rows() const {
  return rows_;
}

void DeviceStep::set_scales(const std::vector<Index>& parts, const std::vector<double>& scales) {
  std::vector<float> of_columns;
  for (std::size_t part = 0; part < parts.size(); ++part)
    of_columns.insert(of_columns.end(), at(parts[part]), static_cast<float>(scales[part]));
  tensors_->scales = on<float>(tensors_->device, of_columns, at::kFloat);
}

double DeviceStep::forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
                           const std::vector<std::uint8_t>& dead, float warmth) {
  Tensors& t = *tensors_;
  rows_.positions = std::move(positions);
  rows_.with_aux = false;
  t.centred = on(t.device, rows, at::kFloat).view({rows_.count(), t.d}).mul_(t.scales).sub_(t.b_dec());
  t.search.look_at(t.centred, t.encoder(), t.b_enc());
  {
    const auto searching = architecture_.search_by(t.search);
    architecture_.encode(parameters, {}, rows_.codes);
  }
  rows_.codes.begin_gradients();
  decode();
  double penalty = 0;
  if (penalised_) {
    to_host<float>(t.codes.gradients, rows_.codes.gradient);
    const auto decoding = architecture_.decode_by(t);
    penalty = architecture_.backward(parameters, rows_, warmth);
    t.codes.gradients = on<float>(t.device, rows_.codes.gradient, at::kFloat);
  }
  has_dead_ = find_dead(t.search, {}, {}, {}, dead, k_aux_, rows_.aux);
  return penalty;
}

/// Errors of all prefixes, what pulls at the latents of each, and dL/da of the codes, which goes to the host where a penalty joins it.
void DeviceStep::decode() {
  Tensors& t = *tensors_;
  t.codes = t.upload(rows_.codes);
  const Bags& bags = t.codes.rows;
  const auto groups = static_cast<Index>(rows_.prefixes.size());
  const auto of_group = [&](Index g, const Tensor& of_entries) {
    if (groups == 1) return of_entries;
    const Index low = g == 0 ? 0 : rows_.prefixes[at(g - 1)];
    return of_entries.mul(bags.index.ge(low).logical_and_(bags.index.lt(rows_.prefixes[at(g)])));
  };
  t.error = t.centred.neg();
  t.pull = groups > 1 ? at::empty({rows_.count(), groups, t.d}, t.error.options()) : t.error;
  for (Index g = 0; g < groups; ++g) {
    t.error.add_(bags.sum(t.decoder(), of_group(g, t.codes.values)));
    if (groups > 1) t.pull.select(1, g).copy_(t.error);
  }
  // The errors of a prefix and of all larger ones pull at its latents.
  if (groups > 1) t.pull = t.pull.flip(1).cumsum(1).flip(1).div_(static_cast<double>(groups));
  t.codes.gradients = at::zeros({bags.entries()}, t.error.options());
  for (Index g = 0; g < groups; ++g)
    t.codes.gradients.add_(of_group(g, bags.products(groups > 1 ? t.pull.select(1, g).contiguous() : t.pull, t.decoder())));
  t.codes.gradients.mul_(architecture_.settings().scale());
}

double DeviceStep::backward_dead(double error_variance) {
  Tensors& t = *tensors_;
  rows_.with_aux = true;
  t.aux = t.upload(rows_.aux);
  t.aux_gradient = t.aux.rows.sum(t.decoder(), t.aux.values).add_(t.error); // e^ - e = e^ + (x^ - x)
  const double squared = t.aux_gradient.square().sum(at::kDouble).item<double>();
  t.aux_gradient.mul_(2.0 * alpha_ / error_variance);
  t.aux.gradients = t.aux.rows.products(t.aux_gradient, t.decoder());
  return squared;
}

StepMoments DeviceStep::moments() const {
  const Tensors& t = *tensors_;
  StepMoments moments(t.d);
  const std::span<double> sums = moments.sums;
  const Tensor squares = at::stack({t.error.square().sum(at::kDouble), t.centred.square().sum(at::kDouble)});
  to_host<double>(at::cat({t.error.sum(0, false, at::kDouble), t.centred.sum(0, false, at::kDouble), squares}), sums);
  for (const float value : rows_.codes.value) sums[at(2 * t.d + 2)] += value > 0 ? 1 : 0;
  return moments;
}

void DeviceStep::make_gradients(const FlatParameters& parameters, float scale) {
  Tensors& t = *tensors_;
  t.gradients[2].zero_();
  const auto sorted = t.by_latent(t.codes);
  t.add_gradients(t.codes, sorted, rows_.prefixes, t.pull, scale, true);
  const Codes& codes = rows_.codes;
  for (Index x = 0; x < codes.extras; ++x) {
    std::vector<float> extras(at(codes.entries()));
    for (Index s = 0; s < codes.entries(); ++s) extras[at(s)] = codes.extra[at(s * codes.extras + x)];
    t.gradients[2][x + 1].copy_(t.sums_by_latent(sorted, on<float>(t.device, extras, at::kFloat)));
  }
  if (const float strength = architecture_.decoder_penalty(); strength > 0)
    t.add_norm_gradients(strength, t.sums_by_latent(sorted, t.codes.values));
  if (rows_.with_aux) t.add_gradients(t.aux, t.by_latent(t.aux), {static_cast<std::int32_t>(t.latents)}, t.aux_gradient, 1.0F, false);
  const Tensor first_pull = rows_.prefixes.size() > 1 ? t.pull.select(1, 0) : t.pull;
  t.gradients[3].copy_(first_pull.sum(0)).mul_(scale).sub_(at::mv(t.encoder().t(), t.gradients[2][0]));
  if (t.scalars > 1) finish_scalars(parameters); // last: b_dec is moved by sums over codes alone
}

/// What an architecture with scalars of its own does with their gradients.
void DeviceStep::finish_scalars(const FlatParameters& parameters) {
  Tensors& t = *tensors_;
  FlatParameters gradients(0, t.latents, t.scalars);
  to_host<float>(t.gradients[2], gradients.of_latents());
  for (Index j = 0; j < t.latents; ++j) architecture_.finish_gradients(parameters, j, 0, gradients, j);
  fill(t.gradients[2], gradients.of_latents());
}

void DeviceStep::give_gradients(Index first, FlatParameters& part) const {
  Tensors::give(Tensors::part(tensors_->gradients, first, part.latents), part, 0);
}

void DeviceStep::take_gradients(const FlatParameters& share) {
  Tensors::take(tensors_->own(tensors_->gradients), share);
}

void DeviceStep::sum_gradients(comm::Nccl& nccl, const std::vector<Index>& firsts, const std::vector<Index>& counts) {
  const auto& gradients = tensors_->gradients;
  nccl.sum_at_owners(Tensors::matrix_parts(gradients, firsts, counts));
  for (const auto& small : {gradients[2], gradients[3]}) nccl.sum(small.data_ptr<float>(), small.numel());
}

void DeviceStep::share_matrices(comm::Nccl& nccl, const std::vector<Index>& firsts, const std::vector<Index>& counts) {
  nccl.copy_from_owners(Tensors::matrix_parts(tensors_->weights, firsts, counts));
}

double DeviceStep::project_gradients() {
  Tensors& t = *tensors_;
  const auto gradients = t.own(t.gradients);
  const Tensor rows = t.own(t.weights)[1];
  gradients[1].addcmul_(gradients[1].mul(rows).sum(1, true), rows, -1);
  const Tensor norms = at::stack({gradients[0].norm(), gradients[1].norm(), gradients[2].norm()}).to(at::kDouble);
  return norms.square().sum().item<double>();
}

double DeviceStep::b_dec_norm() const {
  return tensors_->gradients[3].square().sum(at::kDouble).item<double>();
}

void DeviceStep::move(double rate, double scale, Index t) {
  constexpr double beta2 = 0.999;
  constexpr double epsilon = 1e-8;
  Tensors& s = *tensors_;
  const auto weights = s.own(s.weights);
  const auto gradients = s.own(s.gradients);
  // Row by row, since the kernel wants numbers that lie together and the scalars of some latents do not.
  std::vector<Tensor> moved, by, first, second;
  const auto add = [&](const Tensor& weight, const Tensor& gradient, const Tensor& of_first, const Tensor& of_second) {
    if (weight.numel() == 0) return;
    moved.push_back(weight);
    by.push_back(scale == 1 ? gradient : gradient.mul(scale));
    first.push_back(of_first);
    second.push_back(of_second);
  };
  for (const std::size_t i : {0U, 1U, 3U}) add(weights[i], gradients[i], s.first_moments[i], s.second_moments[i]);
  for (Index row = 0; row < s.scalars; ++row) add(weights[2][row], gradients[2][row], s.first_moments[2][row], s.second_moments[2][row]);
  const std::vector<Tensor> steps(moved.size(), at::full({}, static_cast<double>(t), weights[3].options()));
  at::_fused_adam_(moved, by, first, second, {}, steps, rate, s.beta1, beta2, 0, epsilon, false, false);
  weights[1].div_(weights[1].norm(2, {1}, true).clamp_min(1e-12));
}

} // namespace concord::sae
