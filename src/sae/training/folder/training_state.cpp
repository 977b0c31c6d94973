#include "sae/training/folder/training_state.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/io/safetensors.hpp"

#include <algorithm>
#include <cstring>

namespace concord::sae {

namespace {

/// Appends the numbers of all ranks' latents to a file of rank 0, one rank's at a time: nobody holds those of all. Collective.
void append_shares(const comm::Communicator& comm, const FlatParameters& share, io::SafetensorsWriter* file) {
  const auto append = [&](std::span<const float> mine) {
    comm::gather_each(comm, {reinterpret_cast<const char*>(mine.data()), mine.size_bytes()},
                      [&](int, std::vector<char>& bytes) { file->append(bytes.data(), bytes.size()); });
  };
  append(share.encoder());
  append(share.decoder());
  for (Index s = 0; s < share.scalars; ++s) append(share.scalar(s));
}

} // namespace

void save_checkpoint(const comm::Communicator& comm, const std::filesystem::path& path, const TrainingState& state,
                     const Architecture& architecture, const std::string& note) {
  const auto& parameters = state.parameters;
  const Adam& adam = state.adam;
  const auto own = architecture.state();
  const auto flat = [](std::span<const float> v) { return io::TensorView{Dtype::f32, {static_cast<Index>(v.size())}, v.data()}; };
  const auto wide = [](const std::vector<double>& v) { return io::TensorView{Dtype::f64, {static_cast<Index>(v.size())}, v.data()}; };
  const io::TensorView moments{Dtype::f32, {static_cast<Index>(parameters.of_latents().size())}, nullptr};
  const std::map<std::string, io::TensorView> tensors{{"parameters", flat(parameters.of_latents())},
                                                      {"parameters.b_dec", flat(parameters.b_dec())},
                                                      {"first_moment", moments},
                                                      {"first_moment.b_dec", flat(adam.first_moment.b_dec())},
                                                      {"second_moment", moments},
                                                      {"second_moment.b_dec", flat(adam.second_moment.b_dec())},
                                                      {"rows_since_fired", flat(state.rows_since_fired)},
                                                      {"scales", wide(state.scales)},
                                                      {"medians", wide(state.medians)},
                                                      {"left_out", {Dtype::i64, {1}, &state.left_out}},
                                                      {"architecture", wide(own)},
                                                      {"step", {Dtype::i64, {1}, &state.step}}};
  std::unique_ptr<io::SafetensorsWriter> file; // of rank 0
  comm::agree(comm, [&] {
    if (comm.rank() == 0)
      file = std::make_unique<io::SafetensorsWriter>(path, tensors, std::map<std::string, std::string>{{"digest", note}});
  });
  for (const auto& [name, tensor] : tensors) {
    if (name == "first_moment" || name == "second_moment") {
      append_shares(comm, name == "first_moment" ? adam.first_moment : adam.second_moment, file.get());
      continue;
    }
    comm::agree(comm, [&, &view = tensor] {
      if (file) file->append(view.data, static_cast<std::uint64_t>(view.count()) * size_of(view.dtype));
    });
  }
  comm::agree(comm, [&] {
    if (file) file->finish();
  });
}

namespace {

/// The numbers of a tensor, which must be so many of type T. @throws Error bad_data.
template <typename T>
const void* numbers_of(const io::SafetensorsFile& file, const char* name, std::size_t count) {
  const auto& tensor = file.tensor(name);
  require(tensor.dtype == dtype_of<T>() && tensor.count() == static_cast<Index>(count), ExitCode::bad_data,
          "{}: {} holds {} numbers of type {}, not {} of type {}", file.path().string(), name, tensor.count(), name_of(tensor.dtype), count,
          name_of(dtype_of<T>()));
  return tensor.data;
}

/// Copied, since they may begin at any multiple of 4 bytes.
std::vector<double> wide_numbers(const io::SafetensorsFile& file, const char* name, std::size_t count) {
  std::vector<double> values(count);
  std::memcpy(values.data(), numbers_of<double>(file, name, count), count * sizeof(double));
  return values;
}

Index counter(const io::SafetensorsFile& file, const char* name) {
  Index value = 0;
  std::memcpy(&value, numbers_of<Index>(file, name, 1), sizeof value);
  require(value >= 0, ExitCode::bad_data, "{}: {} is {}", file.path().string(), name, value);
  return value;
}

} // namespace

void load_checkpoint(const std::filesystem::path& path, std::size_t parts, TrainingState& state, Architecture& architecture,
                     const Exchange& exchange) {
  const io::SafetensorsFile file(path);
  const auto view = [&](const char* name, std::size_t count) {
    return std::span<const float>(static_cast<const float*>(numbers_of<float>(file, name, count)), count);
  };
  const auto load = [&](const char* name, std::span<float> to) {
    const auto from = view(name, to.size());
    std::copy(from.begin(), from.end(), to.begin());
  };
  const auto size = std::as_const(state.parameters).of_latents().size();
  exchange.take_share_into_all(view("parameters", size), state.parameters);
  load("parameters.b_dec", state.parameters.b_dec());
  exchange.take_share(view("first_moment", size), state.adam.first_moment);
  exchange.take_share(view("second_moment", size), state.adam.second_moment);
  load("first_moment.b_dec", state.adam.first_moment.b_dec());
  load("second_moment.b_dec", state.adam.second_moment.b_dec());
  load("rows_since_fired", state.rows_since_fired);
  state.scales = wide_numbers(file, "scales", parts);
  state.medians = wide_numbers(file, "medians", parts);
  state.left_out = counter(file, "left_out");
  architecture.set_state(wide_numbers(file, "architecture", architecture.state().size()));
  state.step = counter(file, "step");
}

void require_same_weights(const comm::Communicator& comm, const TrainingState& state, const std::string& stage_word) {
  Digest digest;
  digest.add(state.parameters.of_latents());
  digest.add(state.parameters.b_dec());
  const std::string mine = digest.hex();
  std::vector<char> root(mine.begin(), mine.end());
  comm::broadcast(comm, root);
  comm::agree(comm, [&] {
    require(std::string(root.begin(), root.end()) == mine, ExitCode::internal,
            "{}: the weights of the ranks drifted apart; the MPI library's allreduce does not give all ranks the same sum", stage_word);
  });
}

} // namespace concord::sae
