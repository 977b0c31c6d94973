#include "concord/sae/device_step.hpp"

#include "concord/core/error.hpp"

#include "sae/rows.hpp"
#include <ATen/ATen.h>
#include <numeric>

namespace concord::sae {
namespace {

using at::Tensor;

/// Elements of pre-activations at once: a GiB.
constexpr Index elements_at_once = Index{1} << 28;

template <typename T>
Tensor on(const at::Device& device, std::span<const T> values, at::ScalarType type) {
  return at::from_blob(const_cast<T*>(values.data()), {static_cast<Index>(values.size())}, at::TensorOptions(type))
      .to(device, type, false, true);
}

template <typename T>
void to_host(const Tensor& from, std::span<T> to) {
  const Tensor flat = from.contiguous().cpu();
  std::copy_n(flat.data_ptr<T>(), flat.numel(), to.data());
}

/// Copies host numbers into a tensor of as many.
void fill(const Tensor& to, std::span<const float> values) {
  to.copy_(at::from_blob(const_cast<float*>(values.data()), to.sizes(), at::kFloat));
}

/// Rows of a table, summed in bags: the bag of entries [ends[i], ends[i + 1]).
struct Bags {
  Tensor ends;  ///< [bags + 1]
  Tensor index; ///< [entries] rows of the table
  Tensor bag;   ///< [entries]
  Index entries() const { return index.numel(); }

  /// [bags, width]: sums of weights times rows.
  Tensor sum(const Tensor& table, const Tensor& weights) const {
    if (entries() == 0) return at::zeros({ends.numel() - 1, table.size(1)}, table.options());
    return std::get<0>(at::_embedding_bag(table, index, ends, false, 0, false, weights, /*include_last_offset=*/true));
  }
  /// [entries]: products of the entry's bag in `bags_rows` [bags, width] and its row of the table.
  Tensor products(const Tensor& bags_rows, const Tensor& table) const {
    if (entries() == 0) return at::zeros({0}, table.options());
    return at::_embedding_bag_per_sample_weights_backward(bags_rows, table, index, ends, bag, 0);
  }
};

/// While it lives, a GPU rounds the factors of f32 products to TF32 (11 bits), which is some times as fast.
class RoundedProducts {
public:
  RoundedProducts() : before_(at::globalContext().allowTF32CuBLAS()) { at::globalContext().setAllowTF32CuBLAS(true); }
  ~RoundedProducts() { at::globalContext().setAllowTF32CuBLAS(before_); }
  RoundedProducts(const RoundedProducts&) = delete;
  RoundedProducts& operator=(const RoundedProducts&) = delete;

private:
  bool before_;
};

} // namespace

/// What lies on the device.
struct DeviceStep::Tensors final : public LatentSearch {
  at::Device device;
  Index d, latents, scalars, first, count;
  std::vector<Tensor> weights;                       ///< encoder [F, d], decoder [F, d], scalars [scalars, F], b_dec [d]
  std::vector<Tensor> gradients;                     ///< the same
  std::vector<Tensor> first_moments, second_moments; ///< of this rank's latents, and of b_dec
  double beta1;
  Tensor centred, error, aux_gradient; ///< [n, d]
  Tensor pull;                         ///< [n, prefixes, d], or error
  // Of a search:
  Tensor searched, searched_bias, floor; ///< encoder rows, their b_enc, and what above() measures from
  std::vector<std::int32_t> subset;

  Tensors(const ArchitectureSettings& s, Index n_scalars, int gpu, Index first_latent, Index n_latents, double first_beta)
      : device(gpu >= 0 ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)) : at::Device(at::kCPU)), d(s.d), latents(s.latents),
        scalars(n_scalars), first(first_latent), count(n_latents), beta1(first_beta) {
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

  // --- the search for active latents ----------------------------------------------------------------------------------

  void update(std::span<const float> /*encoder*/, std::span<const float> /*bias*/, std::span<const std::int32_t> wanted,
              std::span<const float> floors) override {
    subset.assign(wanted.begin(), wanted.end());
    floor = floors.empty() ? Tensor() : on(device, floors, at::kFloat);
    searched = encoder();
    searched_bias = b_enc();
    if (subset.empty()) return;
    const Tensor places = on<std::int32_t>(device, subset, at::kInt);
    searched = searched.index_select(0, places);
    searched_bias = searched_bias.index_select(0, places);
  }

  /// A rounded product screens the latents; the largest and some more are computed again in f32. So values are f32's, and a latent can
  /// only be missed in favour of one that comes within the rounding, where more than those lie as close together.
  void top_k(std::span<const float> /*x*/, int k, Codes& codes) override {
    codes.clear();
    const Index screened = std::min<Index>(searched.size(0), k + std::max(8, k / 4));
    const RoundedProducts guard;
    for_hidden([&](const Tensor& x, const Tensor& hidden) {
      const Tensor candidates = std::get<1>(hidden.topk(screened, 1));
      const auto [value, place] = exact(x, candidates).topk(k, 1);
      append_rows(codes, value, candidates.gather(1, place));
    });
  }

  /// f32 pre-activations of candidates [rows, n] of rows x.
  Tensor exact(const Tensor& x, const Tensor& candidates) const {
    const Index rows = candidates.size(0);
    const at::TensorOptions places = candidates.options();
    const Bags bags{at::arange(0, rows * candidates.size(1) + 1, candidates.size(1), places), candidates.reshape({-1}),
                    at::arange(rows, places).repeat_interleave(candidates.size(1))};
    return bags.products(x, searched).add_(searched_bias.index_select(0, bags.index)).view(candidates.sizes());
  }

  void above(std::span<const float> /*x*/, float limit, Codes& codes) override {
    codes.clear();
    for_hidden([&](const Tensor& /*x*/, const Tensor& hidden) {
      const Tensor mask = floor.defined() ? hidden.ge(floor + limit) : hidden.ge(limit);
      append(codes, mask.sum(1), mask.nonzero().select(1, 1), hidden.masked_select(mask));
    });
  }

  /// Calls `look` with some rows after another and their pre-activations.
  template <typename Look>
  void for_hidden(const Look& look) const {
    const Index rows = centred.size(0);
    const Index at_once = std::max<Index>(1, elements_at_once / std::max<Index>(1, searched.size(0)));
    for (Index begin = 0; begin < rows; begin += at_once) {
      const Tensor x = centred.narrow(0, begin, std::min(at_once, rows - begin));
      look(x, at::addmm(searched_bias, x, searched.t()));
    }
  }

  /// Rows of k values each, of which positive ones count.
  void append_rows(Codes& codes, const Tensor& value, const Tensor& index) const {
    const auto [sorted, order] = index.sort(1);
    const Tensor values = value.gather(1, order);
    const Tensor mask = values.gt(0);
    append(codes, mask.sum(1), sorted.masked_select(mask), values.masked_select(mask));
  }

  /// Entries of further rows, `sizes` of each row.
  void append(Codes& codes, const Tensor& sizes, const Tensor& index, const Tensor& value) const {
    std::vector<Index> counts(at(sizes.numel()));
    std::vector<Index> places(at(index.numel()));
    std::vector<float> values(places.size());
    to_host<Index>(sizes, counts);
    to_host<Index>(index, places);
    to_host<float>(value, values);
    Index end = codes.entries();
    for (const Index size : counts) codes.ends.push_back(end += size);
    for (const Index place : places) codes.index.push_back(subset.empty() ? static_cast<std::int32_t>(place) : subset[at(place)]);
    codes.value.insert(codes.value.end(), values.begin(), values.end());
  }

  // --- sums over codes ------------------------------------------------------------------------------------------------

  /// Rows of the batch as bags of decoder rows.
  Bags by_row(const Codes& codes) const {
    std::vector<Index> ends{0}, bag, index(codes.index.begin(), codes.index.end());
    ends.insert(ends.end(), codes.ends.begin(), codes.ends.end());
    bag.reserve(index.size());
    for (Index r = 0; r < codes.rows(); ++r) bag.insert(bag.end(), at(codes.end(r) - codes.begin(r)), r);
    return {on<Index>(device, ends, at::kLong), on<Index>(device, index, at::kLong), on<Index>(device, bag, at::kLong)};
  }

  /// Adds the gradients of both matrices, and puts those of h summed by latent into `through_encoder` [F], from codes and what pulls at the
  /// rows: latents of prefix g look at rows g, g + stride, ... of `pulls`.
  void add_gradients(const Codes& codes, const std::vector<std::int32_t>& prefixes, const Tensor& pulls, float scale,
                     std::vector<float>& through_encoder) {
    std::vector<Index> order(at(codes.rows()));
    std::iota(order.begin(), order.end(), Index{0});
    CodesByLatent sorted;
    sorted.sort(codes, order, 0, latents);
    std::vector<Index> rows, pull_rows;
    std::vector<float> values, of_hidden;
    const auto stride = static_cast<Index>(prefixes.size());
    Index g = 0;
    for (Index j = 0; j < latents; ++j) {
      while (j >= prefixes[at(g)]) ++g;
      for (Index e = sorted.begin[at(j)]; e < sorted.begin[at(j + 1)]; ++e) {
        const auto& entry = sorted.entries[at(e)];
        rows.push_back(entry.row);
        pull_rows.push_back(entry.row * stride + g);
        values.push_back(scale * entry.value);
        of_hidden.push_back(entry.gradient);
        through_encoder[at(j)] += entry.gradient;
      }
    }
    Bags entries{on<Index>(device, sorted.begin, at::kLong), on<Index>(device, rows, at::kLong), {}};
    gradients[0].add_(entries.sum(centred, on<float>(device, of_hidden, at::kFloat)));
    entries.index = on<Index>(device, pull_rows, at::kLong);
    gradients[1].add_(entries.sum(pulls.reshape({-1, d}), on<float>(device, values, at::kFloat)));
  }
};

DeviceStep::DeviceStep(Architecture& architecture, Index k_aux, double alpha, int gpu, Index first, Index count, double beta1)
    : architecture_(architecture), k_aux_(k_aux), alpha_(alpha) {
  const auto& s = architecture.settings();
  require(s.kind != "gated" && (s.kind != "relu" || s.parts.size() == 1), ExitCode::config,
          "a {} {} trains on CPUs alone: set sae.device = \"cpu\", or choose another sae.kind", s.kind,
          s.parts.size() > 1 ? "crosscoder" : "SAE");
  rows_.d = s.d;
  rows_.prefixes = architecture.prefixes();
  tensors_ = std::make_unique<Tensors>(s, architecture.scalars(), gpu, first, count, beta1);
}

DeviceStep::~DeviceStep() = default;

double DeviceStep::bytes(const Architecture& architecture, Index count, Index rows) {
  const auto& s = architecture.settings();
  const auto matrices = [&](Index latents) {
    return 4.0 * static_cast<double>(FlatParameters::count(s.d, latents, architecture.scalars()));
  };
  const auto of_rows = 4.0 * static_cast<double>(rows * s.d) * (4.0 + 2.0 * static_cast<double>(architecture.prefixes().size()));
  const auto hidden = 4.0 * static_cast<double>(std::min(rows * s.latents, elements_at_once));
  // Weights and gradients, sums of bags on their way there, moments, what Adam makes on its way; pre-activations and what is chosen of
  // them.
  return 2.5 * matrices(s.latents) + 4 * matrices(count) + of_rows + 2.5 * hidden;
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

double DeviceStep::forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
                           const std::vector<std::uint8_t>& dead, float warmth) {
  Tensors& t = *tensors_;
  rows_.positions = std::move(positions);
  rows_.with_aux = false;
  t.centred = on(t.device, rows, at::kFloat).view({rows_.count(), t.d}).sub_(t.b_dec());
  architecture_.search_by(&t);
  architecture_.encode(parameters, {}, rows_.codes);
  architecture_.search_by(nullptr);
  rows_.codes.begin_gradients();
  decode();
  const double penalty = architecture_.backward(parameters, rows_, warmth);
  has_dead_ = find_dead(t, {}, {}, {}, dead, k_aux_, rows_.aux);
  return penalty;
}

/// Errors of all prefixes, what pulls at the latents of each, and dL/da of the codes.
void DeviceStep::decode() {
  Tensors& t = *tensors_;
  const Bags bags = t.by_row(rows_.codes);
  const Tensor values = on<float>(t.device, rows_.codes.value, at::kFloat);
  const auto groups = static_cast<Index>(rows_.prefixes.size());
  const auto of_group = [&](Index g, const Tensor& of_entries) {
    if (groups == 1) return of_entries;
    const Index low = g == 0 ? 0 : rows_.prefixes[at(g - 1)];
    return of_entries.mul(bags.index.ge(low).logical_and_(bags.index.lt(rows_.prefixes[at(g)])));
  };
  t.error = t.centred.neg();
  t.pull = groups > 1 ? at::empty({rows_.count(), groups, t.d}, t.error.options()) : t.error;
  for (Index g = 0; g < groups; ++g) {
    t.error.add_(bags.sum(t.decoder(), of_group(g, values)));
    if (groups > 1) t.pull.select(1, g).copy_(t.error);
  }
  // The errors of a prefix and of all larger ones pull at its latents.
  if (groups > 1) t.pull = t.pull.flip(1).cumsum(1).flip(1).div_(static_cast<double>(groups));
  Tensor gradient = at::zeros({bags.entries()}, t.error.options());
  for (Index g = 0; g < groups; ++g)
    gradient.add_(of_group(g, bags.products(groups > 1 ? t.pull.select(1, g).contiguous() : t.pull, t.decoder())));
  to_host<float>(gradient.mul_(architecture_.settings().scale()), rows_.codes.gradient);
}

double DeviceStep::backward_dead(double error_variance) {
  Tensors& t = *tensors_;
  rows_.with_aux = true;
  const Bags bags = t.by_row(rows_.aux);
  t.aux_gradient = bags.sum(t.decoder(), on<float>(t.device, rows_.aux.value, at::kFloat)).add_(t.error); // e^ - e = e^ + (x^ - x)
  const double squared = t.aux_gradient.square().sum(at::kDouble).item<double>();
  t.aux_gradient.mul_(2.0 * alpha_ / error_variance);
  to_host<float>(bags.products(t.aux_gradient, t.decoder()), rows_.aux.gradient);
  return squared;
}

StepMoments DeviceStep::moments() const {
  const Tensors& t = *tensors_;
  StepMoments moments(t.d);
  const std::span<double> sums = moments.sums;
  to_host<double>(t.error.sum(0, false, at::kDouble), sums.subspan(0, at(t.d)));
  to_host<double>(t.centred.sum(0, false, at::kDouble), sums.subspan(at(t.d), at(t.d)));
  sums[at(2 * t.d)] = t.error.square().sum(at::kDouble).item<double>();
  sums[at(2 * t.d + 1)] = t.centred.square().sum(at::kDouble).item<double>();
  for (const float value : rows_.codes.value) sums[at(2 * t.d + 2)] += value > 0 ? 1 : 0;
  return moments;
}

void DeviceStep::make_gradients(float scale) {
  Tensors& t = *tensors_;
  for (const auto& gradient : t.gradients) gradient.zero_();
  std::vector<float> through_encoder(at(t.latents), 0.0F);
  t.add_gradients(rows_.codes, rows_.prefixes, t.pull, scale, through_encoder);
  if (rows_.with_aux) t.add_gradients(rows_.aux, {static_cast<std::int32_t>(t.latents)}, t.aux_gradient, 1.0F, through_encoder);
  fill(t.gradients[2][0], through_encoder);
  const Codes& codes = rows_.codes;
  for (Index x = 0; x < codes.extras; ++x) {
    std::vector<float> sums(at(t.latents), 0.0F);
    for (Index s = 0; s < codes.entries(); ++s) sums[at(codes.index[at(s)])] += codes.extra[at(s * codes.extras + x)];
    fill(t.gradients[2][x + 1], sums);
  }
  const Tensor first_pull = rows_.prefixes.size() > 1 ? t.pull.select(1, 0) : t.pull;
  t.gradients[3].copy_(first_pull.sum(0)).mul_(scale).sub_(at::mv(t.encoder().t(), t.gradients[2][0]));
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
  double squares = 0;
  for (int i = 0; i < 3; ++i) squares += gradients[at(i)].square().sum(at::kDouble).item<double>();
  return squares;
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
