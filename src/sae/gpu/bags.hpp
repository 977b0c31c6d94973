#pragma once
/// Numbers on their way to and from a device, and weighted sums of rows of a table there: what codes are decoded by, and gradients are
/// summed by. Local.

#include "concord/core/index.hpp"

#include <ATen/ATen.h>
#include <algorithm>
#include <span>

namespace concord::sae {

using at::Tensor;

/// Host numbers as a tensor of their own.
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
inline void fill(const Tensor& to, std::span<const float> values) {
  to.copy_(at::from_blob(const_cast<float*>(values.data()), to.sizes(), at::kFloat));
}

/// Entries that libtorch's kernel of products may be given at once: it numbers threads in 32 bits, 32 threads an entry.
inline constexpr Index entries_at_once = Index{1} << 25;

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
  Tensor products(const Tensor& bags_rows, const Tensor& table, Index at_once = entries_at_once) const {
    if (entries() <= at_once) return products_of(bags_rows, table, index, bag);
    Tensor all = at::empty({entries()}, table.options());
    for (Index begin = 0; begin < entries(); begin += at_once) {
      const Index n = std::min(at_once, entries() - begin);
      all.narrow(0, begin, n).copy_(products_of(bags_rows, table, index.narrow(0, begin, n), bag.narrow(0, begin, n)));
    }
    return all;
  }

private:
  /// The kernel looks at the entries' bags alone: where these begin and end only tells it a type.
  Tensor products_of(const Tensor& bags_rows, const Tensor& table, const Tensor& some, const Tensor& their_bags) const {
    if (some.numel() == 0) return at::zeros({0}, table.options());
    return at::_embedding_bag_per_sample_weights_backward(bags_rows, table, some, ends, their_bags, 0);
  }
};

} // namespace concord::sae
