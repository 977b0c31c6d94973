#pragma once
/// Keeps large freed blocks of libtorch's CPU memory for the next tensor of that size. Local.

namespace concord::model {

/// Makes libtorch allocate through it from now on; once is enough. Fresh pages cost more than the arithmetic on them when
/// every batch takes and frees the same tensors.
void reuse_tensor_memory();

} // namespace concord::model
