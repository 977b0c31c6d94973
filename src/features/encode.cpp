#include "concord/features/encode.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"
#include "concord/features/features.hpp"
#include "concord/io/output.hpp"
#include "concord/io/row_source.hpp"
#include "concord/sae/encoder.hpp"
#include "concord/sae/sae.hpp"

#include <algorithm>
#include <cmath>

namespace concord::features {

namespace fs = std::filesystem;

namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// Keeps the strongest activations of one feature, strongest first.
class TopList {
public:
  struct Entry {
    float value;
    Index row;
  };
  static bool stronger(const Entry& a, const Entry& b) { return a.value > b.value || (a.value == b.value && a.row < b.row); }
  void offer(float value, Index row, std::size_t places) {
    if (entries_.size() == places && !stronger({value, row}, entries_.back())) return;
    const Entry entry{value, row};
    entries_.insert(std::upper_bound(entries_.begin(), entries_.end(), entry, stronger), entry);
    if (entries_.size() > places) entries_.pop_back();
  }
  const std::vector<Entry>& entries() const { return entries_; }

private:
  std::vector<Entry> entries_;
};

/// One layer's features on this rank.
struct LocalLayer {
  std::vector<Index> row_sizes;
  sae::SparseRows codes;
  FeatureStatistics statistics;
  std::vector<TopList> top;
  explicit LocalLayer(Index latents)
      : statistics{std::vector<Index>(at(latents), 0), std::vector<double>(at(latents), 0.0), std::vector<double>(at(latents), 0.0),
                   std::vector<float>(at(latents), 0.0F)},
        top(at(latents)) {}
};

/// Codes of the rows of an activations file.
class FileCodes final : public CodeSource {
public:
  FileCodes(const EncodeOptions& options) : options_(options) {}

  Index open(int layer) override {
    sae_ = sae::load_sae(sae::sae_path(options_.saes, layer));
    encoder_ = std::make_unique<sae::Encoder>(sae_, options_.before_top_k);
    source_ = std::make_unique<io::RowSource>(options_.activations.string() + ":/" + layer_name(layer) + "/x");
    require(source_->cols() == sae_.d, ExitCode::bad_data, "the SAE {} is {} wide, {} of {} is {} wide",
            sae::sae_path(options_.saes, layer).string(), sae_.d, layer_name(layer), options_.activations.string(), source_->cols());
    limit_ = norm_limit(options_, layer, sae_.d, some_rows());
    left_out_ = 0;
    return sae_.latents;
  }

  void codes(Index begin, Index end, sae::SparseRows& out) override {
    rows_.resize(at((end - begin) * sae_.d));
    source_->read_float(begin, end - begin, rows_);
    encoder_->encode(rows_, out);
    left_out_ += limit_.blank(rows_, out);
  }

  Index left_out() const override { return left_out_; }

  std::optional<sae::Fit> fit() override {
    std::vector<float> kept;
    const auto rows = some_rows();
    for (auto row = rows.begin(); row != rows.end(); row += sae_.d)
      if (limit_.keeps(&*row)) kept.insert(kept.end(), row, row + sae_.d);
    if (kept.empty()) return std::nullopt;
    return sae::fit_of(sae_, kept);
  }

private:
  /// Rows from all over the file, BOS rows not among them.
  std::vector<float> some_rows() const {
    constexpr Index windows = 8;
    constexpr Index window_rows = 64;
    const auto& kinds = source_->row_kinds();
    std::vector<float> rows;
    Index end = 0; // windows of a short file do not overlap
    for (Index w = 0; w < windows; ++w) {
      const Index begin = std::max(end, w * source_->rows() / windows);
      end = std::min(source_->rows(), std::max(begin, w * source_->rows() / windows + window_rows));
      for (Index r = begin; r < end; ++r) {
        if (kinds[at(r)] != 0) continue;
        rows.resize(rows.size() + at(sae_.d));
        source_->read_float(r, 1, std::span(rows).last(at(sae_.d)));
      }
    }
    return rows;
  }

  const EncodeOptions& options_;
  sae::Sae sae_;
  std::unique_ptr<sae::Encoder> encoder_;
  std::unique_ptr<io::RowSource> source_;
  std::vector<float> rows_;
  sae::NormLimit limit_;
  Index left_out_ = 0;
};

/// What can be told of activations from their file.
ActivationsFacts facts_of(const EncodeOptions& options) {
  const auto file = io::File::open(options.activations);
  require(file.has_attribute("layers") && file.has_attribute("token_hash") && file.has("/block_offsets"), ExitCode::bad_data,
          "{} is no activations file; make it with `concord extract`", options.activations.string());
  ActivationsFacts facts;
  facts.layers = nlohmann::json::parse(file.attribute("layers")).get<std::vector<int>>();
  facts.token_hash = file.attribute("token_hash");
  facts.digest = file.attribute("stage_digest");
  facts.row_kinds = file.read<std::uint8_t>("/row_kind");
  facts.block_offsets = file.read<Index>("/block_offsets");
  return facts;
}

class Encoding {
public:
  Encoding(const comm::Communicator& comm, const EncodeOptions& options, const ActivationsFacts& facts)
      : comm_(comm), options_(options), facts_(facts), rows_(static_cast<Index>(facts.row_kinds.size())) {
    comm::agree(comm_, [&] { plan(); });
    for (const int layer : layers_) key_.inputs["sae/" + layer_name(layer)] = sae::sae_digest(comm_, sae::sae_path(options_.saes, layer));
  }

  std::optional<io::Claim> claim_unless_done() const {
    auto claim = io::claim_unless_done(comm_, options_.out, key_, options_.force);
    if (!claim) log_info("{}: {} is done", options_.stage_word, options_.out.string());
    return claim;
  }

  /// Under a claim.
  void run(CodeSource& source) {
    Progress progress(options_.stage_word, static_cast<Index>(layers_.size()), "layers");
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      encode_layer(layers_[l], source);
      progress.update(static_cast<Index>(l) + 1);
      if (l + 1 < layers_.size() && comm::stop_requested(comm_)) comm::throw_stopped(options_.stage_word.c_str());
    }
    link_layers();
    say_stage_ok(options_.stage_word, progress.seconds(), fmt::format("layers={} nnz={} rows={}", layers_.size(), nnz_, rows_),
                 options_.out.string());
  }

private:
  void plan() {
    layers_ = options_.layers.empty() ? facts_.layers : options_.layers;
    std::sort(layers_.begin(), layers_.end());
    key_ = {"encode", {{"layers", layers_}, {"top", options_.top}, {"keep_special", options_.keep_special}}, {}};
    require(options_.max_norm >= 0, ExitCode::config, "encode.max_norm = {} must not be negative", options_.max_norm);
    require(options_.top >= 1, ExitCode::config, "encode.top must be at least 1, not {}", options_.top);
    if (options_.before_top_k) key_.settings["before_top_k"] = true;
    if (options_.max_norm > 0) key_.settings["max_norm"] = options_.max_norm;
    key_.inputs["activations"] = facts_.digest;
    for (const int layer : layers_) {
      require(std::find(facts_.layers.begin(), facts_.layers.end(), layer) != facts_.layers.end(), ExitCode::config,
              "{} has no {}; it holds layers {}", options_.activations.string(), layer_name(layer), fmt::join(facts_.layers, ", "));
    }
    for (std::size_t b = 0; b + 1 < facts_.block_offsets.size(); ++b)
      for (Index begin = facts_.block_offsets[b]; begin < facts_.block_offsets[b + 1]; begin += rows_a_piece) pieces_.push_back(begin);
    pieces_.push_back(rows_);
  }

  fs::path layer_path(int layer) const { return fs::path(options_.out.string() + ".layers") / (layer_name(layer) + ".h5"); }

  StageKey layer_key(int layer) const {
    StageKey key = key_;
    key.settings["layers"] = {layer};
    key.inputs = {{"activations", key_.inputs["activations"]}, {"sae", key_.inputs["sae/" + layer_name(layer)]}};
    return key;
  }

  void encode_layer(int layer, CodeSource& source) {
    if (io::output_is_done(comm_, layer_path(layer), layer_key(layer), options_.force)) {
      nnz_ += comm::agreed(comm_, [&] { return io::File::open(layer_path(layer)).dataset("/indices").rows(); });
      return;
    }
    const Index latents = comm::agreed(comm_, [&] { return source.open(layer); });
    check_fit(layer, source);
    LocalLayer local(latents);
    comm::agree(comm_, [&] { encode_rows(source, local); });
    gather_statistics(local);
    left_out_ = comm::sum_of(comm_, source.left_out());
    if (left_out_ > 0)
      log_info("{}: {} rows of {} are longer than {} median norms; they have no codes", options_.stage_word, left_out_, layer_name(layer),
               options_.max_norm);
    write_layer(layer, local);
  }

  /// By rank 0; all ranks write it down, since they make the file together.
  void check_fit(int layer, CodeSource& source) {
    std::vector<sae::Fit> fits;
    comm::agree(comm_, [&] {
      const auto fit = comm_.rank() == 0 ? source.fit() : std::nullopt;
      if (fit) fits.push_back(*fit);
    });
    comm::broadcast(comm_, fits);
    fit_ = fits.empty() ? std::nullopt : std::optional(fits.front());
    if (fit_ && std::isnan(fit_->fvu)) fit_.reset(); // rows that are all the same have no variance to explain
    if (!fit_ || (fit_->fvu < 0.5 && fit_->l0 > 0)) return;
    log_warn("{}: the SAE {} leaves {:.0f} % of the variance of rows of {} unexplained (L0 {:.1f}): is it of this layer and model, and in "
             "the scale "
             "of these activations?",
             options_.stage_word, sae::sae_path(options_.saes, layer).string(), 100 * fit_->fvu, layer_name(layer), fit_->l0);
  }

  /// This rank's share of the pieces, in order.
  void encode_rows(CodeSource& source, LocalLayer& local) {
    const dist::Partition share{static_cast<Index>(pieces_.size()) - 1, comm_.size()};
    first_row_ = pieces_[at(share.begin(comm_.rank()))];
    sae::SparseRows codes;
    for (Index p = share.begin(comm_.rank()); p < share.end(comm_.rank()); ++p) {
      codes.clear();
      source.codes(pieces_[at(p)], pieces_[at(p + 1)], codes);
      take_block(codes, pieces_[at(p)], local);
    }
  }

  void take_block(const sae::SparseRows& block, Index first, LocalLayer& local) const {
    Index begin = 0;
    for (std::size_t r = 0; r < block.row_ends.size(); ++r) {
      const Index row = first + static_cast<Index>(r);
      const Index end = block.row_ends[r];
      const bool counted = options_.keep_special || facts_.row_kinds[at(row)] == 0;
      local.row_sizes.push_back(counted ? end - begin : 0);
      for (Index e = begin; counted && e < end; ++e) take_value(block.indices[at(e)], block.values[at(e)], row, local);
      begin = end;
    }
  }

  void take_value(std::int32_t feature, float value, Index row, LocalLayer& local) const {
    const auto j = static_cast<std::size_t>(feature);
    local.codes.indices.push_back(feature);
    local.codes.values.push_back(value);
    local.statistics.count[j] += 1;
    local.statistics.sum[j] += value;
    local.statistics.sum_squares[j] += static_cast<double>(value) * value;
    local.statistics.max[j] = std::max(local.statistics.max[j], value);
    local.top[j].offer(value, row, at(options_.top));
  }

  struct TopRecord {
    std::int64_t feature;
    Index row;
    float value;
    float unused;
  };

  /// Sums statistics and merges the top lists of all ranks; every rank holds the result, F lists. A list is merged by the rank that owns
  /// its feature, so that no rank holds more than twice as much on the way.
  void gather_statistics(LocalLayer& local) const {
    auto& s = local.statistics;
    comm::sum(comm_, s.count);
    comm::sum(comm_, s.sum);
    comm::sum(comm_, s.sum_squares);
    comm::max(comm_, s.max);
    const dist::Partition owners{static_cast<Index>(local.top.size()), comm_.size()};
    std::vector<Index> begin;
    std::vector<Index> count;
    std::vector<TopRecord> records;
    for (int rank = 0; rank < comm_.size(); ++rank) {
      begin.push_back(static_cast<Index>(records.size()));
      add_records(local, owners.begin(rank), owners.end(rank), records);
      count.push_back(static_cast<Index>(records.size()) - begin.back());
    }
    local.top.assign(local.top.size(), TopList());
    take_records(comm::exchange(comm_, records, begin, count), local);
    records.clear();
    add_records(local, owners.begin(comm_.rank()), owners.end(comm_.rank()), records);
    local.top.assign(local.top.size(), TopList());
    take_records(comm::all_gather(comm_, records), local);
  }

  static void add_records(const LocalLayer& local, Index first, Index last, std::vector<TopRecord>& records) {
    for (Index j = first; j < last; ++j)
      for (const auto& entry : local.top[at(j)].entries()) records.push_back({j, entry.row, entry.value, 0});
  }

  void take_records(const std::vector<TopRecord>& records, LocalLayer& local) const {
    for (const auto& record : records) local.top[at(record.feature)].offer(record.value, record.row, at(options_.top));
  }

  void write_layer(int layer, const LocalLayer& local) {
    const auto nnz_local = static_cast<Index>(local.codes.indices.size());
    const Index nnz = comm::sum_of(comm_, nnz_local);
    const Index before = comm::sum_below(comm_, nnz_local);
    nnz_ += nnz;
    std::vector<Index> indptr; // starts of this rank's rows; the last rank adds the end
    Index position = before;
    for (const Index size : local.row_sizes) {
      indptr.push_back(position);
      position += size;
    }
    if (comm_.rank() == comm_.size() - 1) indptr.push_back(nnz);
    const auto latents = static_cast<Index>(local.top.size());
    io::Output output(comm_, layer_path(layer), layer_key(layer), io::Output::Writers::all, true,
                      8.0 * static_cast<double>(nnz + rows_) + static_cast<double>(latents * (28 + 12 * options_.top)),
                      [&](io::File& file) { lay_out(file, nnz, local); });
    auto& file = output.file();
    file.dataset("/indptr").write_rows_all(comm_, first_row_, static_cast<Index>(indptr.size()), indptr.data());
    file.dataset("/indices").write_rows_all(comm_, before, nnz_local, local.codes.indices.data());
    file.dataset("/data").write_rows_all(comm_, before, nnz_local, local.codes.values.data());
    output.finish();
  }

  void lay_out(io::File& file, Index nnz, const LocalLayer& local) const {
    const auto latents = static_cast<Index>(local.top.size());
    file.create_dataset("/indptr", {rows_ + 1}, Dtype::i64);
    file.create_dataset("/indices", {std::max<Index>(1, nnz)}, Dtype::i32);
    file.create_dataset("/data", {std::max<Index>(1, nnz)}, Dtype::f32);
    file.write("/count", local.statistics.count);
    file.write("/sum", local.statistics.sum);
    file.write("/sum_squares", local.statistics.sum_squares);
    file.write("/max", local.statistics.max);
    std::vector<Index> rows(at(latents * options_.top), -1);
    std::vector<float> values(rows.size(), 0.0F);
    for (Index j = 0; j < latents; ++j)
      for (std::size_t p = 0; p < local.top[at(j)].entries().size(); ++p) {
        rows[at(j * options_.top) + p] = local.top[at(j)].entries()[p].row;
        values[at(j * options_.top) + p] = local.top[at(j)].entries()[p].value;
      }
    if (fit_) {
      file.write_attribute("reference_fvu", fmt::format("{}", fit_->fvu));
      file.write_attribute("reference_l0", fmt::format("{}", fit_->l0));
    }
    file.write_attribute("left_out", std::to_string(left_out_));
    file.write("/top_rows", rows, {latents, options_.top});
    file.write("/top_values", values, {latents, options_.top});
  }

  void link_layers() {
    const Index counted = options_.keep_special ? rows_ : std::count(facts_.row_kinds.begin(), facts_.row_kinds.end(), 0);
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, true, static_cast<double>(rows_ + (1 << 20)),
                      [&](io::File& file) {
                        const std::string folder = options_.out.filename().string() + ".layers/";
                        for (const int layer : layers_)
                          file.create_external_link("/" + layer_name(layer), folder + layer_name(layer) + ".h5", "/");
                        file.write("/row_kind", facts_.row_kinds);
                        file.write_attribute("layers", nlohmann::json(layers_).dump());
                        file.write_attribute("token_hash", facts_.token_hash);
                        file.write_attribute("counted_rows", std::to_string(counted));
                        file.write_attribute("keep_special", options_.keep_special ? "1" : "0");
                      });
    output.finish();
  }

  const comm::Communicator& comm_;
  const EncodeOptions& options_;
  const ActivationsFacts& facts_;
  std::vector<int> layers_;
  std::vector<Index> pieces_; ///< first rows, and the end
  Index rows_ = 0;
  Index first_row_ = 0;
  Index nnz_ = 0;
  Index left_out_ = 0;          ///< rows of the layer at hand
  std::optional<sae::Fit> fit_; ///< of the layer at hand
  StageKey key_;
};

} // namespace

sae::NormLimit norm_limit(const EncodeOptions& options, int layer, Index d, std::span<const float> rows) {
  if (options.max_norm <= 0) return {};
  const fs::path record = sae::sae_path(options.saes, layer) / "training.json";
  std::error_code ignored;
  if (fs::exists(record, ignored)) {
    const auto json = nlohmann::json::parse(read_text(record, "training record"), nullptr, /*allow_exceptions=*/false);
    const auto medians = json.is_object() && json.contains("median_norm") ? json["median_norm"] : nlohmann::json();
    if (medians.is_array() && medians.size() == 1 && medians[0].is_number())
      return {{d}, std::vector<double>{medians[0].get<double>()}, options.max_norm};
  }
  if (rows.empty()) {
    log_warn("{}: the median norm of {} is not known; encode.max_norm is not applied", options.stage_word, layer_name(layer));
    return {};
  }
  return {{d}, std::vector<double>{sae::median_norm(rows, d)}, options.max_norm};
}

void encode_codes(const comm::Communicator& comm, const EncodeOptions& options, const ActivationsFacts& facts, CodeSource& source) {
  Encoding(comm, options, facts).run(source);
}

std::optional<io::Claim> claim_unless_encoded(const comm::Communicator& comm, const EncodeOptions& options, const ActivationsFacts& facts) {
  return Encoding(comm, options, facts).claim_unless_done();
}

void encode(const comm::Communicator& comm, const EncodeOptions& options) {
  ActivationsFacts facts;
  comm::agree(comm, [&] { facts = facts_of(options); });
  FileCodes source(options);
  Encoding encoding(comm, options, facts);
  if (const auto claim = encoding.claim_unless_done()) encoding.run(source);
}

} // namespace concord::features
