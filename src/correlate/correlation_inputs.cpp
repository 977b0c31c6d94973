#include "correlate/correlation_inputs.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/digest.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/correlate/null_size.hpp"
#include "concord/features/features.hpp"

#include "correlate/row_shifts.hpp"
#include <algorithm>

namespace concord::correlate {

CorrelationInputs::CorrelationInputs(const comm::Communicator& comm, const CorrelateOptions& options)
    : options_(options), a_(comm, options.a, options.layers_a), b_(comm, options.b, options.layers_b) {
  comm::agree(comm, [&] { set_key(); });
}

void CorrelationInputs::add_most(CorrelateSize& size) const {
  const auto most = [&](const Side& side, double& features, double& active) {
    for (const int layer : side.layers()) {
      const auto source = side.source(layer);
      features = std::max(features, static_cast<double>(source->features()));
      active = std::max(active, static_cast<double>(source->entries()) / std::max(1.0, size.rows));
    }
  };
  most(a_, size.features_a, size.active_a);
  most(b_, size.features_b, size.active_b);
}

void CorrelationInputs::set_key() {
  check_rows();
  check_options();
  std::vector<Index> starts;
  if (!options_.tokens.empty() && a_.file() != nullptr) starts = read_starts();
  const Cuts cuts{a_.rows(), starts, [&](Index start) { return a_.file()->counted_before(start); }};
  shifts_ = null_shifts(options_.null_shifts, cuts);
  require(static_cast<Index>(shifts_.size()) == options_.null_shifts, ExitCode::config,
          "{} rows give no {} different shifts; lower correlate.null_shifts", a_.rows(), options_.null_shifts);
  if (is_shifted()) shift_ = shift_between(options_.shift_a, options_.shift_b, cuts);
  require(!is_shifted() || shift_ != 0, ExitCode::config, "{} rows are too few to move two models apart", a_.rows());
  key_ = {"correlate", settings::digest_of<CorrelateSettings>(options_), {{"a", a_.digest()}, {"b", b_.digest()}}};
  auto& said = key_.settings; // as older versions said it, so that their results are known again
  said["null_shifts"] = shifts_;
  if (is_shifted()) said["shift"] = shift_;
  said.erase("null_features");
  if (const auto sampled = sampled_nulls(); !sampled.empty()) said["null_features"] = {{"seed", options_.seed}, {"of", sampled}};
  said["pairing"] = static_cast<int>(options_.rules.pairing);
  said["p"] = "tail, two scales, dense features apart"; // beyond what is counted: matches by another p are made again
  said.erase("matrix_coactive");
  if (options_.matrix_coactive) said["matrix"] = matrix_word();
  if (!options_.layers_a.empty()) key_.settings["layers_a"] = options_.layers_a;
  if (!options_.layers_b.empty()) key_.settings["layers_b"] = options_.layers_b;
}

void CorrelationInputs::check_rows() const {
  require(
      a_.row_hash() == b_.row_hash(), ExitCode::bad_data,
      "the features do not come from the same tokens: {} has token hash {}, {} has {}; extract both models from one tokens.h5, or, where "
      "they have tokenizers of their own, from what one run of `concord tokenize` made",
      options_.a.string(), a_.row_hash(), options_.b.string(), b_.row_hash());
  require(a_.rows() == b_.rows(), ExitCode::bad_data, "{} has {} rows, {} has {}: rows must be the same tokens in the same order",
          options_.a.string(), a_.rows(), options_.b.string(), b_.rows());
  require(a_.rows() > 1, ExitCode::bad_data, "{} has {} rows; a correlation needs at least 2", options_.a.string(), a_.rows());
  require(a_.rows() < (Index{1} << 31), ExitCode::unavailable, "{} rows are more than 2^31", a_.rows());
}

void CorrelationInputs::check_options() const {
  settings::check_all<CorrelateSettings>(options_, "correlate", "this run");
  require(options_.device == Device::cpu || options_.best <= most_partners_on_gpu, ExitCode::config,
          "correlate.best must be at most {} on a GPU, not {}", most_partners_on_gpu, options_.best);
  const bool more = options_.writes_matrix() || options_.null_shifts > 0 || options_.rules.pairing == Pairing::optimal;
  require(!is_shifted() || !more, ExitCode::internal, "of shifted rows there are best partners alone");
  require(!options_.matrix || !options_.matrix_coactive, ExitCode::config,
          "correlate.matrix and correlate.matrix_coactive exclude each other; take one");
}

/// Where documents begin among the rows: contexts where documents are too few to shift by, nothing where these are, too.
std::vector<Index> CorrelationInputs::read_starts() const {
  const auto contexts = corpus::read_contexts(options_.tokens);
  require(contexts.hash == a_.token_hash(), ExitCode::bad_data, "{} has token hash {}, the features have {}", options_.tokens.string(),
          contexts.hash, a_.token_hash());
  require(options_.tokens_b.empty() || b_.file() == nullptr || corpus::read_contexts(options_.tokens_b).hash == b_.token_hash(),
          ExitCode::bad_data, "{} is not of the tokens of {}", options_.b.string(), options_.tokens_b.string());
  constexpr Index least = 3; // of shifted rows
  const auto enough = [&](const std::vector<Index>& starts) {
    return static_cast<Index>(starts.size()) > 2 * std::max(options_.null_shifts, is_shifted() ? least : 0);
  };
  std::vector<Index> documents;
  for (std::size_t c = 1; c < contexts.document.size(); ++c)
    if (contexts.document[c] != contexts.document[c - 1]) documents.push_back(contexts.offsets[c]);
  if (enough(documents)) return documents;
  return enough(contexts.offsets) ? std::vector<Index>(contexts.offsets.begin(), contexts.offsets.end() - 1) : std::vector<Index>{};
}

PairShape CorrelationInputs::pair_shape(int layer_a, int layer_b) const {
  const Index a = a_.features(layer_a);
  const Index b = b_.features(layer_b);
  const Index least = options_.null_features;
  const auto shifts = static_cast<Index>(shifts_.size());
  return {a, b, options_.best, shifts, null_features(a, least, shifts), null_features(b, least, shifts)};
}

/// Features of A, those of them whose null is taken, and the same of B, of each kind of pair where these are a sample: what a result hangs
/// on, whatever the setting was.
std::set<std::array<Index, 4>> CorrelationInputs::sampled_nulls() const {
  std::set<std::array<Index, 4>> sampled;
  for (const int la : a_.layers())
    for (const int lb : b_.layers()) {
      const PairShape shape = pair_shape(la, lb);
      if (shape.samples_null()) sampled.insert({shape.features_a, shape.null_a, shape.features_b, shape.null_b});
    }
  return sampled;
}

double CorrelationInputs::file_bytes() const {
  double bytes = 1 << 20;
  for (const int la : a_.layers())
    for (const int lb : b_.layers()) {
      const auto features = static_cast<double>(a_.features(la) + b_.features(lb));
      bytes += features * static_cast<double>(20 * options_.best + 16) + pair_shape(la, lb).null_bytes() +
               62.0 * static_cast<double>(b_.features(lb)) + 16384;
      if (options_.matrix) bytes += 4.0 * static_cast<double>(a_.features(la)) * static_cast<double>(b_.features(lb));
    }
  return bytes;
}

void CorrelationInputs::lay_out(io::File& file) const {
  for (const int la : a_.layers())
    for (const int lb : b_.layers()) lay_out_pair(file, pair_group(la, lb), pair_shape(la, lb));
  file.write_attribute("layers_a", nlohmann::json(a_.layers()).dump());
  file.write_attribute("layers_b", nlohmann::json(b_.layers()).dump());
  file.write_attribute("token_hash", a_.row_hash()); // that of all pairs of a study
  file.write_attribute("counted_rows", std::to_string(a_.rows()));
  file.write_attribute("null_shifts", nlohmann::json(shifts_).dump());
  file.write_attribute("null_features", std::to_string(options_.null_features));
  file.write_attribute("level", fmt::format("{}", options_.level));
  file.write_attribute("summary_columns", nlohmann::json(summary_columns()).dump());
}

} // namespace concord::correlate
