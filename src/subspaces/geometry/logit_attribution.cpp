#include "subspaces/geometry/logit_attribution.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/dist/partition.hpp"
#include "concord/linalg/dense.hpp"
#include "concord/model/config.hpp"
#include "concord/model/ops.hpp"
#include "concord/model/weights.hpp"

#include <ATen/ATen.h>
#include <algorithm>
#include <map>
#include <numeric>

namespace concord::subspaces {
namespace {

/// A tensor of the mapped file, as it lies there.
at::Tensor mapped_tensor(const io::TensorView& view) {
  return at::from_blob(const_cast<void*>(view.data), view.shape, model::torch_dtype(view.dtype)); // not written to
}

std::vector<double> doubles(const at::Tensor& x) {
  const at::Tensor flat = x.to(at::kDouble).contiguous().view({-1});
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

/// The sum of this rank's rows of the head.
std::vector<double> sum_of_rows(const at::Tensor& head, const dist::Partition& share, int rank) {
  at::Tensor sum = at::zeros({head.size(1)}, at::kDouble);
  constexpr Index piece = 4096;
  for (Index begin = share.begin(rank); begin < share.end(rank); begin += piece)
    sum += head.slice(0, begin, std::min(share.end(rank), begin + piece)).to(at::kDouble).sum(0);
  return doubles(sum);
}

} // namespace

FirstTokens first_tokens(const comm::Communicator& comm, const corpus::TokenReader& tokens, const std::vector<Span>& spans, int concepts) {
  struct Item {
    std::int32_t id;
    std::int32_t concept_number;
  };
  const auto mine = comm::agreed(comm, [&] {
    const dist::Partition share{static_cast<Index>(spans.size()), comm.size()};
    std::vector<Item> items;
    for (Index i = share.begin(comm.rank()); i < share.end(comm.rank()); ++i) {
      const Span& span = spans[at(i)];
      if (!span.random && span.phrase_half == 1) items.push_back({tokens.ids(span.begin, 1)[0], span.concept_number});
    }
    return items;
  });
  std::map<std::int32_t, std::vector<double>> counts;
  for (const Item& item : comm::all_gather(comm, mine)) {
    auto& of_token = counts[item.id];
    of_token.resize(at(concepts));
    ++of_token[at(item.concept_number)];
  }
  FirstTokens first;
  for (auto& [id, of_token] : counts) {
    first.ids.push_back(id);
    first.counts.push_back(std::move(of_token));
  }
  return first;
}

namespace {

/// LayerNorm takes the mean of a row's columns out, so nothing along it reaches the logits.
void take_out_mean(std::vector<double>& direction) {
  const double mean = std::accumulate(direction.begin(), direction.end(), 0.0) / static_cast<double>(direction.size());
  for (double& value : direction) value -= mean;
}

} // namespace

std::vector<double> token_directions(const comm::Communicator& comm, const std::filesystem::path& model,
                                     const std::vector<std::int32_t>& ids) {
  const auto config = comm::agreed(comm, [&] { return model::read_config(model); });
  const auto which = model::weight_files(comm, model);
  std::unique_ptr<model::Weights> files;
  at::Tensor head;
  std::vector<double> norm;
  std::vector<double> mean;
  comm::agree(comm, [&] {
    files = std::make_unique<model::Weights>(model, which);
    const auto names = model::outer_names(*files, config);
    head = mapped_tensor(files->tensor(names.head + ".weight", {config.vocab, config.hidden}));
    norm = doubles(mapped_tensor(files->tensor(names.final_norm + ".weight", {config.hidden})));
    mean = sum_of_rows(head, {config.vocab, comm.size()}, comm.rank());
  });
  comm::sum(comm, mean);
  std::vector<double> directions;
  comm::agree(comm, [&] {
    for (const std::int32_t id : ids) {
      require(id >= 0 && id < config.vocab, ExitCode::bad_data, "the corpus holds the token id {}, {} has a vocabulary of {}", id,
              model.string(), config.vocab);
      auto direction = doubles(head[id]);
      for (std::size_t j = 0; j < direction.size(); ++j)
        direction[j] = (config.norm_offset + norm[j]) * (direction[j] - mean[j] / static_cast<double>(config.vocab));
      if (config.layer_norm) take_out_mean(direction);
      directions.insert(directions.end(), direction.begin(), direction.end());
    }
  });
  return directions;
}

std::vector<double> logit_shares(const comm::Communicator& comm, const FirstTokens& tokens, const std::vector<double>& directions,
                                 const LayerBases& bases) {
  const auto concepts = bases.of.front().size();
  const auto count = static_cast<Index>(tokens.ids.size());
  const dist::Partition share{count, comm.size()};
  const Index first = share.begin(comm.rank());
  const Index mine = share.size(comm.rank());
  std::vector<double> sums(basis_kinds * concepts * concepts);
  const linalg::View rows{directions.data() + first * bases.d, mine, bases.d, bases.d};
  std::vector<double> squares(at(mine));
  for (Index i = 0; i < mine; ++i)
    for (Index j = 0; j < bases.d; ++j) squares[at(i)] += rows.data[i * bases.d + j] * rows.data[i * bases.d + j];
  for (std::size_t b = 0; b < basis_kinds * concepts; ++b) {
    const Basis& basis = bases.of[b / concepts][b % concepts];
    if (basis.k == 0 || mine == 0) continue;
    std::vector<double> products(at(mine * basis.k));
    linalg::product(rows, linalg::view(basis.u, basis.d, basis.k), products.data(), basis.k);
    for (Index i = 0; i < mine; ++i) {
      double inside = 0;
      for (Index j = 0; j < basis.k; ++j) inside += products[at(i * basis.k + j)] * products[at(i * basis.k + j)];
      if (!(squares[at(i)] > 0)) continue; // a token that nothing tells from the mean
      for (std::size_t other = 0; other < concepts; ++other)
        sums[b * concepts + other] += tokens.counts[at(first + i)][other] * inside / squares[at(i)];
    }
  }
  comm::sum(comm, sums);
  for (std::size_t other = 0; other < concepts; ++other) {
    double spans = 0;
    for (const auto& of_token : tokens.counts) spans += of_token[other];
    for (std::size_t b = 0; b < basis_kinds * concepts; ++b) {
      const bool there = bases.of[b / concepts][b % concepts].k > 0 && spans > 0;
      double& value = sums[b * concepts + other];
      value = there ? value / spans : std::numeric_limits<double>::quiet_NaN();
    }
  }
  return sums;
}

} // namespace concord::subspaces
