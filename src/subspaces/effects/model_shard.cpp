#include "concord/subspaces/effects/model_shard.hpp"

#include <ATen/ATen.h>

namespace concord::subspaces {
namespace {

using at::Tensor;

Index bytes_of(const Tensor& rows) {
  return rows.numel() * static_cast<Index>(rows.element_size());
}

/// What a message lies in: a GPU copies from and to pinned memory at full speed.
Tensor message(Index rows, const model::Transformer& model) {
  const auto type = at::TensorOptions(model.compute()).pinned_memory(!model.device().is_cpu());
  return at::empty({rows, model.config().hidden}, type);
}

} // namespace

Tensor ModelShard::receive(Index rows) const {
  const Tensor arriving = message(rows, *model_);
  pipe_->start_receive(arriving.data_ptr(), bytes_of(arriving));
  pipe_->finish_receive();
  return arriving.to(model_->device());
}

void ModelShard::send(const Tensor& rows) const {
  const auto sent = std::make_shared<Tensor>(rows.is_cpu() ? rows.contiguous() : message(rows.size(0), *model_).copy_(rows));
  pipe_->start_send(sent->data_ptr(), bytes_of(*sent), sent);
}

} // namespace concord::subspaces
