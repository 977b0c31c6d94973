#include "graph/pair_links.hpp"

#include "concord/core/at.hpp"
#include "concord/core/fields.hpp"
#include "concord/correlate/correlate.hpp"

#include <tuple>

namespace concord::graph {
namespace {

/// The best partner of each feature and its r: the first of [features, places].
template <typename T>
std::vector<T> first_of(const io::File& file, const std::string& name, Index features) {
  const auto dataset = file.dataset(name, {features, -1});
  const auto places = at(dataset.row_size());
  require(places > 0, ExitCode::bad_data, "{}:{} holds no partners", file.path().string(), name);
  const auto all = dataset.read_all<T>();
  std::vector<T> first(at(dataset.rows()));
  for (std::size_t i = 0; i < first.size(); ++i) first[i] = all[i * places];
  return first;
}

/// What a file of correlate was made from: the digests of A's and B's features.
std::pair<std::string, std::string> features_of(const io::File& file) {
  const auto inputs = parse_json(file.has_attribute("inputs") ? file.attribute("inputs") : "");
  const bool known =
      inputs.is_object() && inputs.contains("a") && inputs.contains("b") && inputs["a"].is_string() && inputs["b"].is_string();
  require(known, ExitCode::bad_data, "{} does not say what it was made from", file.path().string());
  return {inputs["a"].get<std::string>(), inputs["b"].get<std::string>()};
}

/// Links that chance does not give: r above the threshold of either feature. A threshold of NaN is that of a feature without a null.
void keep_beyond_chance(std::vector<std::int32_t>& links, const std::vector<double>& r, const std::vector<double>& own,
                        const std::vector<double>& other) {
  for (std::size_t i = 0; i < links.size(); ++i)
    if (links[i] >= 0 && !(r[i] > own[i] && r[i] > other[at(links[i])])) links[i] = -1;
}

} // namespace

PairLinks::PairLinks(const PairFiles& files) : files_(files), matches_(io::File::open(files.matches)) {
  const auto index = correlate::read_matches_index(files.matches);
  std::tie(digest_a_, digest_b_) = features_of(matches_);
  layers_a_ = index.layers_a;
  layers_b_ = index.layers_b;
  require(!layers_a_.empty() && !layers_b_.empty(), ExitCode::bad_data, "{} has no layers", files.matches.string());
  for (std::size_t a = 0; a < layers_a_.size(); ++a) features_a_.push_back(matches_.dataset(group(a, 0) + "/a_to_b/count", {-1}).rows());
  for (std::size_t b = 0; b < layers_b_.size(); ++b) features_b_.push_back(matches_.dataset(group(0, b) + "/b_to_a/count", {-1}).rows());
  if (files.shifted.empty()) return;
  const auto of_shifted = correlate::read_matches_index(files.shifted);
  shifted_.emplace(io::File::open(files.shifted));
  require(features_of(*shifted_) == std::pair(digest_a_, digest_b_) && of_shifted.layers_a == layers_a_ &&
              of_shifted.layers_b == layers_b_ && shifted_->attribute("token_hash") == token_hash(),
          ExitCode::bad_data, "{} and {} are not of the same features", files.matches.string(), files.shifted.string());
}

std::string PairLinks::group(std::size_t a, std::size_t b) const {
  return correlate::pair_group(layers_a_.at(a), layers_b_.at(b));
}

LayerLinks PairLinks::links(std::size_t a, std::size_t b, bool shifted) const {
  const auto place = group(a, b);
  const io::File& file = shifted ? *shifted_ : matches_;
  LayerLinks links;
  links.best = {first_of<std::int32_t>(file, place + "/a_to_b/partner", features_a_[a]),
                first_of<std::int32_t>(file, place + "/b_to_a/partner", features_b_[b])};
  links.r_a = first_of<double>(file, place + "/a_to_b/r", features_a_[a]);
  links.r_b = first_of<double>(file, place + "/b_to_a/r", features_b_[b]);
  links.mutual = mutual(links.best);
  if (!matches_.has(place + "/a_to_b/threshold")) return links;
  const auto of_a = matches_.read<double>(place + "/a_to_b/threshold", {features_a_[a]});
  const auto of_b = matches_.read<double>(place + "/b_to_a/threshold", {features_b_[b]});
  keep_beyond_chance(links.mutual.to_b, links.r_a, of_a, of_b);
  keep_beyond_chance(links.mutual.to_a, links.r_b, of_b, of_a);
  return links;
}

std::vector<Index> PairLinks::counts_a(std::size_t layer) const {
  return matches_.read<Index>(group(layer, 0) + "/a_to_b/count", {features_a_.at(layer)});
}
std::vector<Index> PairLinks::counts_b(std::size_t layer) const {
  return matches_.read<Index>(group(0, layer) + "/b_to_a/count", {features_b_.at(layer)});
}

} // namespace concord::graph
