#include "sae/gpu/device_search.hpp"

#include "concord/core/error.hpp"

#include "sae/gpu/search_kernels.hpp"
#include "sae/numbers/rows.hpp"
#include <c10/core/DeviceGuard.h>
#include <optional>

namespace concord::sae {
namespace {

void launch(const at::Device& device, const search::Kernel& kernel) {
#ifdef CONCORD_CUDA
  if (device.is_cuda()) {
    const c10::DeviceGuard of_this_thread(device);
    const int status = search::launch_on_gpu(kernel);
    require(status == 0, ExitCode::internal, "a kernel did not start: CUDA error {}", status);
    return;
  }
#else
  static_cast<void>(device);
#endif
  std::visit([](const auto& of) { run_in_loop(of); }, kernel);
}

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

search::Hidden view_of(const Tensor& hidden) {
  return {hidden.const_data_ptr<float>(), hidden.size(0), hidden.size(1)};
}

const float* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

/// 0 and the sums of the first 1, 2, ... counts.
Tensor ends_of(const Tensor& counts) {
  return at::cat({at::zeros({1}, counts.options()), counts.cumsum(0)});
}

/// [rows, n] places as bags of n.
Bags rows_of(const Tensor& candidates) {
  const Index rows = candidates.size(0);
  const Index each = candidates.size(1);
  const at::TensorOptions places = candidates.options();
  return {at::arange(0, rows * each + 1, each, places), candidates.reshape({-1}), at::arange(rows, places).repeat_interleave(each)};
}

} // namespace

void DeviceSearch::look_at(const Tensor& centred, const Tensor& encoder, const Tensor& bias) {
  centred_ = centred;
  encoder_ = encoder;
  bias_ = bias;
}

void DeviceSearch::update(std::span<const float> /*encoder*/, std::span<const float> /*bias*/, std::span<const std::int32_t> subset,
                          std::span<const float> floors) {
  subset_.assign(subset.begin(), subset.end());
  floor_ = floors.empty() ? Tensor() : on(centred_.device(), floors, at::kFloat);
  searched_ = encoder_;
  searched_bias_ = bias_;
  if (subset_.empty()) return;
  const Tensor places = on<std::int32_t>(centred_.device(), subset_, at::kInt);
  searched_ = searched_.index_select(0, places);
  searched_bias_ = searched_bias_.index_select(0, places);
}

/// Calls `look` with some rows after another and their pre-activations.
template <typename Look>
void DeviceSearch::for_hidden(const Look& look) const {
  const Index rows = centred_.size(0);
  const Index at_once = std::max<Index>(1, elements_at_once / std::max<Index>(1, searched_.size(0)));
  for (Index begin = 0; begin < rows; begin += at_once) {
    const Tensor x = centred_.narrow(0, begin, std::min(at_once, rows - begin));
    look(x, at::addmm(searched_bias_, x, searched_.t()));
  }
}

void DeviceSearch::top_k(std::span<const float> /*x*/, int k, Codes& found) {
  found.clear();
  const Index screened = std::min<Index>(searched_.size(0), k + std::max(8, k / 4));
  const RoundedProducts guard;
  for_hidden([&](const Tensor& x, const Tensor& hidden) {
    const Tensor candidates = largest(hidden, screened);
    const auto [best, place] = exact(x, rows_of(candidates)).view(candidates.sizes()).topk(k, 1);
    const auto [index, order] = candidates.gather(1, place).sort(1);
    const Tensor value = best.gather(1, order);
    const Tensor active = value.gt(0);
    append(found, ends_of(active.sum(1)), index.masked_select(active), value.masked_select(active));
  });
}

/// Places of the largest of each row: [rows, places].
Tensor DeviceSearch::largest(const Tensor& hidden, Index places) const {
  if (places > search::most_places) return std::get<1>(hidden.topk(places, 1));
  Tensor latents = at::empty({hidden.size(0), places}, hidden.options().dtype(at::kLong));
  launch(hidden.device(), search::Largest{view_of(hidden), places, latents.data_ptr<Index>()});
  return latents;
}

/// f32 pre-activations of candidates of rows x.
Tensor DeviceSearch::exact(const Tensor& x, const Bags& candidates) const {
  return candidates.products(x, searched_).add_(searched_bias_.index_select(0, candidates.index));
}

void DeviceSearch::above(std::span<const float> /*x*/, float limit, Codes& found) {
  found.clear();
  std::optional<RoundedProducts> rounded;
  Tensor norms;
  if (limit > 0) {
    rounded.emplace();
    norms = searched_.norm(2, {1});
  }
  for_hidden([&](const Tensor& x, const Tensor& hidden) {
    Reaching of = reaching(x, hidden, limit, norms);
    if (limit > 0) of = computed_again(x, of.rows, limit);
    append(found, of.rows.ends, of.rows.index, of.values);
  });
}

/// `norms`: of the encoder's rows, where the product was rounded.
DeviceSearch::Reaching DeviceSearch::reaching(const Tensor& x, const Tensor& hidden, float limit, const Tensor& norms) const {
  const Tensor slack = norms.defined() ? x.norm(2, {1}).mul_(search::tf32_slack) : Tensor();
  const search::Bound bound{limit, data_of(floor_), data_of(slack), data_of(norms)};
  const Index rows = hidden.size(0);
  const at::TensorOptions places = hidden.options().dtype(at::kLong);
  const Tensor counts = at::empty({rows}, places);
  launch(hidden.device(), search::CountAbove{view_of(hidden), bound, counts.data_ptr<Index>()});
  Reaching found{{ends_of(counts), {}, {}}, {}};
  const auto total = found.rows.ends[rows].item<Index>();
  found.rows.index = at::empty({total}, places);
  found.rows.bag = at::arange(rows, places).repeat_interleave(counts, 0, total);
  found.values = at::empty({total}, hidden.options());
  launch(hidden.device(), search::FillAbove{view_of(hidden), bound, found.rows.ends.const_data_ptr<Index>(),
                                            found.rows.index.data_ptr<Index>(), found.values.data_ptr<float>()});
  return found;
}

/// Those that reach the limit in f32.
DeviceSearch::Reaching DeviceSearch::computed_again(const Tensor& x, const Bags& candidates, float limit) const {
  const Tensor value = exact(x, candidates);
  const Tensor mask = floor_.defined() ? value.ge(floor_.index_select(0, candidates.index).add_(limit)) : value.ge(limit);
  const Tensor counts = candidates.bag.masked_select(mask).bincount({}, x.size(0));
  return {{ends_of(counts), candidates.index.masked_select(mask), {}}, value.masked_select(mask)};
}

/// Entries of further rows, which end at `ends` [rows + 1] of them.
void DeviceSearch::append(Codes& to, const Tensor& ends, const Tensor& index, const Tensor& value) const {
  const auto before = to.entries();
  std::vector<Index> row_ends(at(ends.numel()));
  to_host<Index>(ends, row_ends);
  for (std::size_t r = 1; r < row_ends.size(); ++r) to.ends.push_back(before + row_ends[r]);
  to.index.resize(at(before + index.numel()));
  to.value.resize(at(before + index.numel()));
  const auto places = std::span(to.index).subspan(at(before));
  to_host<std::int32_t>(index.to(at::kInt), places);
  to_host<float>(value, std::span(to.value).subspan(at(before)));
  if (subset_.empty()) return;
  for (std::int32_t& place : places) place = subset_[at(place)];
}

} // namespace concord::sae
