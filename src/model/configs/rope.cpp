#include "model/configs/rope.hpp"

namespace concord::model {

double original_context(const Fields& fields, const Fields& rope, Index longest) {
  const char* key = "original_max_position_embeddings";
  require(!fields.is_null(key), ExitCode::bad_data, "{}: {} is null", fields.file(), key);
  return fields.has(key) ? fields.get<double>(key)
                         : rope.get_or(key, fields.get_or("max_position_embeddings", static_cast<double>(longest)));
}

Index rotated_columns(const Fields& fields, const ModelConfig& config, double part) {
  require(part > 0 && part <= 1, ExitCode::bad_data, "{}: partial_rotary_factor (rotary_pct) {} is not above 0 and at most 1",
          fields.file(), part);
  return static_cast<Index>(static_cast<double>(config.head_dim) * part);
}

RopeScaling rope_scaling(const Fields& fields, const Fields& rope, Index longest, bool part) {
  KeyTable keys{
      {"rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, {}, {}};
  if (part)
    keys.honoured.emplace_back("partial_rotary_factor");
  else
    keys.fixed.push_back({"partial_rotary_factor", 1.0, "rotary embedding of a part of each head"});
  rope.check(keys);
  RopeScaling scaling;
  const auto type = rope.get_or<std::string>("rope_type", rope.get_or<std::string>("type", "default"));
  if (type == "default") return scaling;
  const auto number = [&](const char* key) {
    require(rope.has(key), ExitCode::bad_data, "{} has no key {}, which the rope_type {} needs", rope.file(), key, type);
    return rope.get<double>(key);
  };
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.low_frequency_factor = number("low_freq_factor");
    scaling.high_frequency_factor = number("high_freq_factor");
    scaling.original_context = original_context(fields, rope, longest);
    require(scaling.high_frequency_factor > scaling.low_frequency_factor && scaling.low_frequency_factor > 0, ExitCode::bad_data,
            "{}: low_freq_factor and high_freq_factor are out of order", rope.file());
    require(scaling.original_context > 0, ExitCode::bad_data, "{}: original_max_position_embeddings must be positive", rope.file());
  } else {
    fail(ExitCode::bad_data, "{}: rope_type {} is not supported; concord knows default, linear and llama3", rope.file(), type);
  }
  scaling.factor = number("factor");
  require(scaling.factor >= 1, ExitCode::bad_data, "{}: the factor {} is below 1", rope.file(), scaling.factor);
  return scaling;
}

Fields rope_object(const Fields& fields) {
  Fields rope(nlohmann::json::object(), fields.file());
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (fields.has(key) && !fields.get<nlohmann::json>(key).empty()) rope = fields.inside(key);
  return rope;
}

void read_rope(const Fields& fields, ModelConfig& config, const Family::Defaults& defaults) {
  const Fields rope = rope_object(fields);
  config.ropes = {{rope.get_or("rope_theta", fields.get_or("rope_theta", defaults.rope_theta)),
                   rope_scaling(fields, rope, defaults.longest), config.head_dim}};
}

} // namespace concord::model
