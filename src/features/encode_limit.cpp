#include "concord/comm/decided.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/features/encode.hpp"
#include "concord/sae/sae.hpp"

namespace concord::features {

namespace fs = std::filesystem;

namespace {

constexpr double not_known = -1;

double median_norm_of(const EncodeOptions& options, int layer, Index d, const std::function<std::vector<float>()>& rows) {
  const fs::path record = sae::sae_path(options.saes, layer) / "training.json";
  std::error_code ignored;
  if (fs::exists(record, ignored)) {
    const auto json = parse_json(read_text(record, "training record"));
    const auto medians = json.is_object() && json.contains("median_norm") ? json["median_norm"] : nlohmann::json();
    if (medians.is_array() && medians.size() == 1 && medians[0].is_number()) return medians[0].get<double>();
  }
  const auto at_hand = rows();
  return at_hand.empty() ? not_known : sae::median_norm(at_hand, d);
}

} // namespace

sae::NormLimit norm_limit(const comm::Communicator& comm, const EncodeOptions& options, int layer, Index d,
                          const std::function<std::vector<float>()>& rows) {
  if (options.max_norm <= 0) return {};
  const double median = comm::decided(comm, [&] { return median_norm_of(options, layer, d, rows); });
  if (median != not_known) return {{d}, std::vector<double>{median}, options.max_norm};
  log_warn("{}: the median norm of {} is not known; encode.max_norm is not applied", options.stage_word, layer_name(layer));
  return {};
}

} // namespace concord::features
