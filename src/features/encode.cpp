#include "concord/features/encode.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"
#include "concord/io/output.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/search/encoder.hpp"

#include "features/exact_sums.hpp"
#include "features/file_codes.hpp"
#include "features/layer_totals.hpp"
#include <algorithm>
#include <cmath>

namespace concord::features {

namespace fs = std::filesystem;

namespace {

class Encoding {
public:
  Encoding(const comm::Communicator& comm, const EncodeOptions& options, const ActivationsFacts& facts)
      : comm_(comm), options_(options), facts_(facts), rows_(facts.rows) {
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
      const bool encoded = encode_layer(layers_[l], source);
      progress.update(static_cast<Index>(l) + 1);
      // Not behind a layer of an earlier run: each run gets on, however short.
      if (encoded && l + 1 < layers_.size() && comm::stop_requested(comm_)) comm::throw_stopped(options_.stage_word.c_str());
    }
    link_layers();
    say_stage_ok(options_.stage_word, progress.seconds(), fmt::format("layers={} nnz={} rows={}", layers_.size(), nnz_, rows_),
                 options_.out.string());
  }

private:
  void plan() {
    layers_ = options_.layers.empty() ? facts_.layers : options_.layers;
    std::sort(layers_.begin(), layers_.end());
    settings::check_all<EncodeSettings>(options_, "encode", "this run");
    key_ = {"encode", settings::digest_of<EncodeSettings>(options_), {}};
    auto& said = key_.settings; // as older versions said it, so that their results are known again
    said["layers"] = layers_;
    said["sums"] = "exact"; // those of older versions had other bits at other ranks
    if (!options_.before_top_k) said.erase("before_top_k");
    if (options_.max_norm <= 0) said.erase("max_norm");
    key_.inputs["activations"] = facts_.digest;
    for (const int layer : layers_) {
      require(std::find(facts_.layers.begin(), facts_.layers.end(), layer) != facts_.layers.end(), ExitCode::config,
              "{} has no {}; it holds layers {}", options_.activations.string(), layer_name(layer), fmt::join(facts_.layers, ", "));
    }
    windows_ = PieceWindows(facts_.block_offsets, rows_);
  }

  fs::path layer_path(int layer) const { return fs::path(options_.out.string() + ".layers") / (layer_name(layer) + ".h5"); }

  StageKey layer_key(int layer) const {
    StageKey key = key_;
    key.settings["layers"] = {layer};
    key.inputs = {{"activations", key_.inputs["activations"]}, {"sae", key_.inputs["sae/" + layer_name(layer)]}};
    return key;
  }

  fs::path spool_path(int layer) const { return fs::path(options_.out.string() + ".layers") / (layer_name(layer) + ".codes"); }

  /// Returns whether it was not there yet.
  bool encode_layer(int layer, CodeSource& source) {
    if (io::output_is_done(comm_, layer_path(layer), layer_key(layer), options_.force)) {
      nnz_ += comm::agreed(comm_, [&] { return io::File::open(layer_path(layer)).dataset("/indices").rows(); });
      comm::agree(comm_, [&] { // of a run that ended between the two
        if (comm_.rank() == 0) fs::remove_all(spool_path(layer));
      });
      return false;
    }
    source.make_ready(layer, spool_path(layer), layer_key(layer).digest(), windows_);
    const Index latents = comm::agreed(comm_, [&] { return source.open(layer); });
    check_fit(layer, source);
    LayerTotals totals(latents);
    add_up(source, totals);
    gather_statistics(totals);
    left_out_ = comm::sum_of(comm_, source.left_out());
    if (left_out_ > 0)
      log_info("{}: {} rows of {}, BOS rows among them, are longer than {} median norms; they have no codes", options_.stage_word,
               left_out_, layer_name(layer), options_.max_norm);
    write_layer(layer, source, totals);
    source.layer_done();
    return true;
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

  /// This rank's share of the windows.
  dist::Partition share() const { return {windows_.count(), comm_.size()}; }

  /// This rank's rows some windows at a time, in order: `visit` gets their codes, those of rows that are not counted left out, and the
  /// number of the first row. Collective: all ranks visit equally often, some of them nothing. @throws Error stopped.
  void for_codes(CodeSource& source, const std::function<void(const sae::SparseRows&, Index first_row)>& visit) const {
    Index window = share().begin(comm_.rank());
    const Index end = share().end(comm_.rank());
    sae::SparseRows read;
    sae::SparseRows counted;
    const comm::StopWithin stop;
    do {
      const Index first_row = windows_.first_row(window);
      counted.clear();
      comm::agree(comm_, [&] {
        for (; window < end && counted.index.size() < entries_a_write; ++window)
          windows_.for_pieces(window, [&](Index first, Index last) {
            read.clear();
            source.codes(first, last, read);
            add_counted(read, first, counted);
          });
      });
      visit(counted, first_row);
      stop.throw_if_wanted(comm_, options_.stage_word.c_str());
    } while (comm::max_of(comm_, end - window) > 0);
  }

  void add_counted(const sae::SparseRows& block, Index first, sae::SparseRows& counted) const {
    const auto kinds = facts_.row_kinds(first, first + static_cast<Index>(block.ends.size()));
    Index begin = 0;
    for (std::size_t r = 0; r < block.ends.size(); ++r) {
      const Index end = block.ends[r];
      if (io::is_counted(kinds[r], options_.keep_special)) {
        counted.index.insert(counted.index.end(), block.index.begin() + begin, block.index.begin() + end);
        counted.value.insert(counted.value.end(), block.value.begin() + begin, block.value.begin() + end);
      }
      counted.ends.push_back(static_cast<Index>(counted.index.size()));
      begin = end;
    }
  }

  void add_up(CodeSource& source, LayerTotals& totals) const {
    for_codes(source, [&](const sae::SparseRows& codes, Index first_row) {
      comm::agree(comm_, [&] {
        Index begin = 0;
        for (std::size_t r = 0; r < codes.ends.size(); ++r) {
          for (Index e = begin; e < codes.ends[r]; ++e)
            add_value(codes.index[at(e)], codes.value[at(e)], first_row + static_cast<Index>(r), totals);
          begin = codes.ends[r];
        }
        totals.entries += begin;
      });
    });
  }

  void add_value(std::int32_t feature, float value, Index row, LayerTotals& totals) const {
    require(std::isfinite(value), ExitCode::bad_data, "the SAEs in {} give feature {} of row {} the value {}", options_.saes, feature, row,
            value);
    const auto j = static_cast<std::size_t>(feature);
    totals.statistics.count[j] += 1;
    totals.statistics.max[j] = std::max(totals.statistics.max[j], value);
    totals.largest[j] = std::max(totals.largest[j], std::abs(value));
    totals.top[j].offer(value, row, at(options_.top));
  }

  struct TopRecord {
    std::int64_t feature;
    Index row;
    float value;
    float unused;
  };

  /// Takes together the counts, largest values and top lists of all ranks; every rank holds the result, F lists. A list is merged by the
  /// rank that owns its feature, so that no rank holds more than twice as much on the way.
  void gather_statistics(LayerTotals& totals) const {
    auto& s = totals.statistics;
    comm::sum(comm_, s.count);
    comm::max(comm_, s.max);
    comm::max(comm_, totals.largest);
    const dist::Partition owners{static_cast<Index>(totals.top.size()), comm_.size()};
    std::vector<Index> begin;
    std::vector<Index> count;
    std::vector<TopRecord> records;
    std::size_t entries = 0;
    for (const TopList& list : totals.top) entries += list.entries().size();
    records.reserve(entries);
    for (int rank = 0; rank < comm_.size(); ++rank) {
      begin.push_back(static_cast<Index>(records.size()));
      add_records(totals, owners.begin(rank), owners.end(rank), records);
      count.push_back(static_cast<Index>(records.size()) - begin.back());
    }
    totals.top.assign(totals.top.size(), TopList());
    take_records(comm::exchange(comm_, records, begin, count), totals);
    records.clear();
    add_records(totals, owners.begin(comm_.rank()), owners.end(comm_.rank()), records);
    totals.top.assign(totals.top.size(), TopList());
    take_records(comm::all_gather(comm_, records), totals);
  }

  static void add_records(const LayerTotals& totals, Index first, Index last, std::vector<TopRecord>& records) {
    for (Index j = first; j < last; ++j)
      for (const auto& entry : totals.top[at(j)].entries()) records.push_back({j, entry.row, entry.value, 0});
  }

  void take_records(const std::vector<TopRecord>& records, LayerTotals& totals) const {
    for (const auto& record : records) totals.top[at(record.feature)].offer(record.value, record.row, at(options_.top));
  }

  void write_layer(int layer, CodeSource& source, const LayerTotals& totals) {
    const Index nnz = comm::sum_of(comm_, totals.entries);
    nnz_ += nnz;
    const auto latents = static_cast<Index>(totals.top.size());
    io::Output output(comm_, layer_path(layer), layer_key(layer), io::Output::Writers::all, true,
                      8.0 * static_cast<double>(nnz + rows_) + static_cast<double>(latents * (28 + 12 * options_.top)),
                      [&](io::File& file) { lay_out(file, nnz, totals); });
    ExactSums sums(totals.largest);
    write_codes(output.file(), source, comm::sum_below(comm_, totals.entries), nnz, sums);
    sums.sum_over(comm_);
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      output.file().dataset("/sum").write_rows(0, latents, sums.sums().data());
      output.file().dataset("/sum_squares").write_rows(0, latents, sums.squares().data());
    });
    output.finish();
  }

  /// `entry`: the number of this rank's first.
  void write_codes(io::File& file, CodeSource& source, Index entry, Index nnz, ExactSums& sums) const {
    auto indptr = file.dataset("/indptr");
    auto indices = file.dataset("/indices");
    auto data = file.dataset("/data");
    std::vector<Index> starts; // of the rows; the end follows the last row of all
    for_codes(source, [&](const sae::SparseRows& codes, Index first_row) {
      const auto rows = static_cast<Index>(codes.ends.size());
      const auto count = static_cast<Index>(codes.index.size());
      starts.assign(1, entry);
      for (const Index end : codes.ends) starts.push_back(entry + end);
      const bool last = rows > 0 && first_row + rows == rows_;
      if (last) require(starts.back() == nnz, ExitCode::internal, "{} entries are not the {} counted", starts.back(), nnz);
      comm::agree(comm_, [&] {
        if (rows == 0) return;
        indptr.write_rows(first_row, last ? rows + 1 : rows, starts.data());
        if (count == 0) return;
        indices.write_rows(entry, count, codes.index.data());
        data.write_rows(entry, count, codes.value.data());
      });
      for (std::size_t e = 0; e < codes.value.size(); ++e) sums.add(codes.index[e], codes.value[e]);
      entry += count;
    });
  }

  void lay_out(io::File& file, Index nnz, const LayerTotals& totals) const {
    const auto latents = static_cast<Index>(totals.top.size());
    file.create_dataset("/indptr", {rows_ + 1}, Dtype::i64);
    file.create_dataset("/indices", {std::max<Index>(1, nnz)}, Dtype::i32);
    file.create_dataset("/data", {std::max<Index>(1, nnz)}, Dtype::f32);
    file.write("/count", totals.statistics.count);
    file.create_dataset("/sum", {latents}, Dtype::f64);
    file.create_dataset("/sum_squares", {latents}, Dtype::f64);
    file.write("/max", totals.statistics.max);
    std::vector<Index> rows(at(latents * options_.top), -1);
    std::vector<float> values(rows.size(), 0.0F);
    for (Index j = 0; j < latents; ++j)
      for (std::size_t p = 0; p < totals.top[at(j)].entries().size(); ++p) {
        rows[at(j * options_.top) + p] = totals.top[at(j)].entries()[p].row;
        values[at(j * options_.top) + p] = totals.top[at(j)].entries()[p].value;
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
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, true, static_cast<double>(rows_ + (1 << 20)),
                      [&](io::File& file) {
                        const std::string folder = options_.out.filename().string() + ".layers/";
                        for (const int layer : layers_)
                          file.create_external_link("/" + layer_name(layer), folder + layer_name(layer) + ".h5", "/");
                        const Index counted = write_row_kinds(file);
                        file.write_attribute("layers", nlohmann::json(layers_).dump());
                        file.write_attribute("token_hash", facts_.token_hash);
                        if (facts_.row_hash != facts_.token_hash) file.write_attribute("row_hash", facts_.row_hash);
                        file.write_attribute("counted_rows", std::to_string(counted));
                        file.write_attribute("keep_special", options_.keep_special ? "1" : "0");
                      });
    output.finish();
  }

  /// Returns the counted rows.
  Index write_row_kinds(io::File& file) const {
    auto dataset = file.create_dataset("/row_kind", {rows_}, Dtype::u8);
    Index counted = 0;
    std::vector<std::uint8_t> piece;
    const auto write = [&](Index end) {
      dataset.write_rows(end - static_cast<Index>(piece.size()), static_cast<Index>(piece.size()), piece.data());
      piece.clear();
    };
    io::for_row_kinds(facts_.row_kinds, rows_, [&](Index row, std::uint8_t kind) {
      counted += io::is_counted(kind, options_.keep_special) ? 1 : 0;
      piece.push_back(kind);
      if (piece.size() == (std::size_t{1} << 18)) write(row + 1);
      return true;
    });
    write(rows_);
    return counted;
  }

  const comm::Communicator& comm_;
  const EncodeOptions& options_;
  const ActivationsFacts& facts_;
  std::vector<int> layers_;
  PieceWindows windows_;
  Index rows_ = 0;
  Index nnz_ = 0;
  Index left_out_ = 0;          ///< rows of the layer at hand
  std::optional<sae::Fit> fit_; ///< of the layer at hand
  StageKey key_;
};

} // namespace

Index encode_rows_at_once(Index latents, Index d, int threads) {
  constexpr double products_a_thread = 1e11;              // two seconds at 10^11 operations a second
  const Index a_block = 96 * static_cast<Index>(threads); // the search gives each thread 96 rows at a time
  const double rows = products_a_thread * threads / (static_cast<double>(latents) * static_cast<double>(d));
  return std::min(rows_a_piece, a_block * std::max<Index>(1, static_cast<Index>(rows) / a_block));
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
  FileCodes source(comm, options);
  Encoding encoding(comm, options, facts);
  if (const auto claim = encoding.claim_unless_done()) encoding.run(source);
}

} // namespace concord::features
