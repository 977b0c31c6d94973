#include "concord/cost/machine.hpp"

#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <cmath>

namespace concord::cost {

const std::array<const char*, kinds_of_work>& words_of_work() {
  static const std::array<const char*, kinds_of_work> words{
      "product_f32", "product_bf16",  "product_f64", "eigenvectors",    "eigenvalues", "screen_int8", "screen_bf16",
      "rows",        "codes_of_step", "batch_rows",  "weights",         "codes",       "postings",    "products",
      "looks",       "entries",       "matches",     "dissimilarities", "shuffled",    "kendall",     "text"};
  return words;
}

const char* word_of(Work work) {
  return words_of_work()[static_cast<std::size_t>(work)];
}

double Machine::rate(Work work, double size, int busy, bool on_gpu) const {
  const Rate& rate = (on_gpu ? gpu_rates : rates)[static_cast<std::size_t>(work)];
  require(rate.alone > 0, ExitCode::config, "the machine \"{}\" gives no {} of a {}", name, word_of(work), on_gpu ? "GPU" : "rank");
  const double others = ranks_a_node > 1 ? (busy - 1.0) / (ranks_a_node - 1.0) : 0;
  const double whole = rate.alone + (rate.together - rate.alone) * std::clamp(others, 0.0, 1.0);
  return size > 0 ? whole / (1 + rate.half / size) : whole;
}

namespace {

struct Measured {
  Work work;
  double rate; ///< units a second, at large sizes
  double half = 0;
};

/// By `concord calibrate` on two cores of an AMD EPYC with AVX-512, 2026-11-30, the median of three runs with nothing beside them. The
/// last is of `tokenize` on the demo.
constexpr std::array<Measured, kinds_of_work> of_a_core{{
    {Work::product_f32, 2.3e11, 44},
    {Work::product_bf16, 4.7e11, 120},
    {Work::product_f64, 1.2e11, 8},
    {Work::eigenvectors, 1.1e10, 220},
    {Work::eigenvalues, 4.5e10, 720},
    {Work::screen_int8, 1.9e11, 470},
    {Work::screen_bf16, 1.3e11, 250},
    {Work::rows, 2.9e9},
    {Work::codes_of_step, 8.5e6},
    {Work::batch_rows, 3.5e9},
    {Work::weights, 4e8},
    {Work::codes, 1.4e7},
    {Work::postings, 2.1e8},
    {Work::products, 9.6e8},
    {Work::looks, 1.3e9},
    {Work::entries, 1e8},
    {Work::matches, 8.1e5},
    {Work::dissimilarities, 9.9e6, 36000},
    {Work::shuffled, 2e9},
    {Work::kendall, 7.9e6},
    {Work::text, 3e6},
}};

} // namespace

Machine default_machine(int ranks_a_node) {
  Machine m;
  m.name = "default";
  m.source = "each rank as a core of an AMD EPYC with AVX-512, measured by concord calibrate on two of them, 2026-11-30; assumed: messages "
             "between nodes, files of several nodes";
  m.ranks_a_node = ranks_a_node;
  for (const Measured& one : of_a_core) m.rates[static_cast<std::size_t>(one.work)] = {one.rate, one.rate, one.half};
  m.memory = 1.5e10 * ranks_a_node;
  m.within = {8e-7, 3e9};
  m.between = {2e-6, 1.2e10};
  m.reads = {1.3e9, 1.5e9, 1e11};
  m.writes = {7e8, 9e8, 5e10};
  return m;
}

namespace {

using nlohmann::json;

json json_of(const std::array<Rate, kinds_of_work>& rates) {
  json all = json::object();
  for (std::size_t i = 0; i < kinds_of_work; ++i) {
    if (rates[i].alone <= 0) continue;
    json& one = all[words_of_work()[i]] = {{"alone", rates[i].alone}, {"together", rates[i].together}};
    if (rates[i].half > 0) one["half"] = rates[i].half;
  }
  return all;
}

json json_of(const Link& link) {
  return {{"latency", link.latency}, {"bandwidth", link.bandwidth}};
}

json json_of(const FileRates& rates) {
  return {{"rank", rates.rank}, {"node", rates.node}, {"all", rates.all}};
}

/// Reads a file's constants, and says where one is not as it must be.
class Reader {
public:
  explicit Reader(const std::filesystem::path& path) : path_(path) {
    const std::string text = read_text(path, "machine");
    root_ = parse_json(text);
    require(root_.is_object(), ExitCode::bad_data, "{} is no JSON object; make it with concord calibrate --out", path.string());
  }
  const json* find(const std::string& pointer) const {
    const json::json_pointer place(pointer);
    return root_.contains(place) ? &root_.at(place) : nullptr;
  }
  double positive(const std::string& pointer) const {
    const json* value = find(pointer);
    require(value != nullptr && value->is_number() && value->get<double>() > 0 && std::isfinite(value->get<double>()), ExitCode::bad_data,
            "{}: {} must be a positive number", path_.string(), pointer);
    return value->get<double>();
  }
  double positive_or(const std::string& pointer, double otherwise) const {
    return find(pointer) != nullptr ? positive(pointer) : otherwise;
  }
  int whole(const std::string& pointer) const {
    const double value = positive(pointer);
    require(value == std::floor(value) && value <= 1 << 20, ExitCode::bad_data, "{}: {} must be a whole number", path_.string(), pointer);
    return static_cast<int>(value);
  }
  std::string text(const std::string& pointer) const {
    const json* value = find(pointer);
    require(value != nullptr && value->is_string(), ExitCode::bad_data, "{}: {} must be a text", path_.string(), pointer);
    return value->get<std::string>();
  }
  Link link(const std::string& pointer) const { return {positive(pointer + "/latency"), positive(pointer + "/bandwidth")}; }
  FileRates files(const std::string& pointer) const {
    return {positive(pointer + "/rank"), positive(pointer + "/node"), positive(pointer + "/all")};
  }
  /// @param all  every kind must be there
  std::array<Rate, kinds_of_work> rates(const std::string& pointer, bool all) const {
    std::array<Rate, kinds_of_work> rates{};
    const json* given = find(pointer);
    require(given != nullptr && given->is_object(), ExitCode::bad_data, "{}: {} must be an object of rates", path_.string(), pointer);
    const auto& words = words_of_work();
    for (const auto& [word, value] : given->items())
      require(std::find(words.begin(), words.end(), word) != words.end(), ExitCode::bad_data, "{}: {} names no kind of work: {}",
              path_.string(), pointer, word);
    for (std::size_t i = 0; i < kinds_of_work; ++i) {
      const std::string place = pointer + "/" + words[i];
      if (!all && find(place) == nullptr) continue;
      rates[i].alone = positive(place + "/alone");
      rates[i].together = positive_or(place + "/together", rates[i].alone);
      if (find(place + "/half") != nullptr) rates[i].half = positive(place + "/half");
    }
    return rates;
  }

private:
  std::filesystem::path path_;
  json root_;
};

} // namespace

json to_json(const Machine& m) {
  json out{{"name", m.name},
           {"source", m.source},
           {"ranks_a_node", m.ranks_a_node},
           {"threads_a_rank", m.threads_a_rank},
           {"work", json_of(m.rates)},
           {"memory", m.memory},
           {"messages", {{"within", json_of(m.within)}, {"between", json_of(m.between)}}},
           {"files", {{"read", json_of(m.reads)}, {"write", json_of(m.writes)}}}};
  if (m.gpus_a_node > 0) {
    out["gpus_a_node"] = m.gpus_a_node;
    out["gpu"] = {{"work", json_of(m.gpu_rates)}, {"memory", m.gpu_memory}};
  }
  return out;
}

Machine read_machine(const std::filesystem::path& path) {
  const Reader reader(path);
  Machine m;
  m.name = reader.text("/name");
  m.source = reader.text("/source");
  m.ranks_a_node = reader.whole("/ranks_a_node");
  m.threads_a_rank = reader.whole("/threads_a_rank");
  m.rates = reader.rates("/work", true);
  m.memory = reader.positive("/memory");
  m.within = reader.link("/messages/within");
  m.between = reader.link("/messages/between");
  m.reads = reader.files("/files/read");
  m.writes = reader.files("/files/write");
  if (reader.find("/gpus_a_node") != nullptr) {
    m.gpus_a_node = reader.whole("/gpus_a_node");
    m.gpu_rates = reader.rates("/gpu/work", false);
    m.gpu_memory = reader.positive("/gpu/memory");
  }
  return m;
}

} // namespace concord::cost
