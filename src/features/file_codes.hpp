#pragma once
/// Codes of the rows of an activations file, layer by layer, and what is told of the file.

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"
#include "concord/features/code_spool.hpp"
#include "concord/features/encode.hpp"
#include "concord/features/memory_plan.hpp"
#include "concord/io/rows/block_offsets.hpp"
#include "concord/io/rows/row_hash.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/search/encoder.hpp"

#include <algorithm>

namespace concord::features {

/// Encodes the rows of an activations file. Local where it does not say Collective.
class FileEncoder {
public:
  FileEncoder(const comm::Communicator& comm, const EncodeOptions& options) : comm_(comm), options_(options) {}

  /// Turns to a layer. Collective.
  void open(int layer) {
    encoder_.reset(); // the last layer's weights first
    sae_ = {};
    sae_ = sae::load_sae_on_nodes(comm_, sae::sae_path(options_.saes, layer));
    encoder_ = std::make_unique<sae::Encoder>(sae_, options_.before_top_k, &comm_);
    comm::agree(comm_, [&] { open_rows(layer); });
    limit_ = norm_limit(comm_, options_, layer, sae_.d, [&] { return some_rows(); });
  }

  Index latents() const { return sae_.latents; }
  const sae::Sae& sae() const { return sae_; }
  /// Rows between two looks for a stop: some seconds' work.
  Index rows_at_once() const { return encode_rows_at_once(sae_.latents, sae_.d, thread_count()); }
  double value_bytes() const { return static_cast<double>(size_of(source_->dtype())); }

  /// Appends the codes of rows [begin, end); returns how many of them are too long to have any.
  Index encode(Index begin, Index end, sae::SparseRows& out) {
    rows_.resize(at((end - begin) * sae_.d));
    source_->read_float(begin, end - begin, rows_);
    encoder_->encode(rows_, out);
    return limit_.blank(rows_, out);
  }

  /// How well the SAE fits some of the rows.
  std::optional<sae::Fit> fit() const {
    std::vector<float> kept;
    const auto rows = some_rows();
    for (auto row = rows.begin(); row != rows.end(); row += sae_.d)
      if (limit_.keeps(&*row)) kept.insert(kept.end(), row, row + sae_.d);
    if (kept.empty()) return std::nullopt;
    return sae::fit_of(sae_, *encoder_, kept);
  }

private:
  void open_rows(int layer) {
    source_ = std::make_unique<io::RowSource>(options_.activations.string() + ":/" + layer_name(layer) + "/x");
    require(source_->cols() == sae_.d, ExitCode::bad_data, "the SAE {} is {} wide, {} of {} is {} wide",
            sae::sae_path(options_.saes, layer).string(), sae_.d, layer_name(layer), options_.activations.string(), source_->cols());
  }

  /// Rows from all over the file, BOS rows not among them.
  std::vector<float> some_rows() const {
    constexpr Index windows = 8;
    constexpr Index window_rows = 64;
    std::vector<float> rows;
    Index end = 0; // windows of a short file do not overlap
    for (Index w = 0; w < windows; ++w) {
      const Index begin = std::max(end, w * source_->rows() / windows);
      end = std::min(source_->rows(), std::max(begin, w * source_->rows() / windows + window_rows));
      const auto kinds = source_->row_kinds(begin, end);
      for (Index r = begin; r < end; ++r) {
        if (io::is_bos(kinds[at(r - begin)])) continue;
        rows.resize(rows.size() + at(sae_.d));
        source_->read_float(r, 1, std::span(rows).last(at(sae_.d)));
      }
    }
    return rows;
  }

  const comm::Communicator& comm_;
  const EncodeOptions& options_;
  sae::Sae sae_;
  std::unique_ptr<sae::Encoder> encoder_;
  std::unique_ptr<io::RowSource> source_;
  std::vector<float> rows_;
  sae::NormLimit limit_;
};

/// Codes of the rows of an activations file. A layer is encoded into a spool beside its file, window by window: no rank holds more than a
/// window, and a run that ends early goes on behind its last whole one.
class FileCodes final : public CodeSource {
public:
  FileCodes(const comm::Communicator& comm, const EncodeOptions& options) : comm_(comm), options_(options), encoder_(comm, options) {}

  void make_ready(int layer, const std::filesystem::path& folder, const std::string& digest, const PieceWindows& windows) override {
    encoder_.open(layer);
    require_memory(windows);
    spool_ = std::make_unique<CodeSpool>(comm_, folder, digest, options_.force);
    const auto missing = windows.without([&](Index first_row) { return spool_->has(layer, first_row); });
    const dist::Partition share{static_cast<Index>(missing.size()), comm_.size()};
    const Index begin = share.begin(comm_.rank());
    const Index end = share.end(comm_.rank());
    bool stopped = false;
    const Index rounds = comm::max_of(comm_, end - begin); // ranks stop together: one that is asked to tells the others
    for (Index round = 0; round < rounds && !stopped; ++round) {
      comm::agree(comm_, [&] {
        if (begin + round < end) encode_window(layer, windows, missing[at(begin + round)]);
      });
      stopped = comm::stop_requested(comm_);
    }
    spool_->share();
    if (stopped) comm::throw_stopped(options_.stage_word.c_str());
  }

  Index open(int layer) override { return spool_->open(layer); }
  void codes(Index begin, Index end, sae::SparseRows& out) override { spool_->codes(begin, end, out); }
  Index left_out() const override { return spool_->left_out(); }
  std::optional<sae::Fit> fit() override { return encoder_.fit(); }

  void layer_done() override {
    spool_->remove();
    spool_.reset();
  }

private:
  void require_memory(const PieceWindows& windows) const {
    const auto& sae = encoder_.sae();
    const auto rows = static_cast<double>(windows.rows());
    const auto plan = encode_memory(options_, {.rows = rows,
                                               .blocks = rows / static_cast<double>(rows_a_piece),
                                               .latents = static_cast<double>(sae.latents),
                                               .d = static_cast<double>(sae.d),
                                               .value = encoder_.value_bytes(),
                                               .active = static_cast<double>(sae.k), // of other kinds not known
                                               .ranks = comm_.size(),
                                               .threads = thread_count()});
    comm::require_memory(comm_, plan.without_node_arrays("loading"), "start fewer ranks a node");
  }

  void encode_window(int layer, const PieceWindows& windows, Index window) {
    codes_.clear();
    Index left_out = 0;
    bool whole = true;
    const comm::StopWithin stop; // a window of a large SAE takes long on few threads
    windows.for_pieces(window, [&](Index begin, Index end) {
      for (Index here = begin; here < end && whole; here += encoder_.rows_at_once()) {
        whole = !stop.wanted_here();
        if (whole) left_out += encoder_.encode(here, std::min(end, here + encoder_.rows_at_once()), codes_);
      }
    });
    if (whole) spool_->append(layer, windows.first_row(window), encoder_.latents(), left_out, codes_);
  }

  const comm::Communicator& comm_;
  const EncodeOptions& options_;
  FileEncoder encoder_;
  std::unique_ptr<CodeSpool> spool_;
  sae::SparseRows codes_;
};

/// What can be told of activations from their file.
inline ActivationsFacts facts_of(const EncodeOptions& options) {
  const auto file = io::File::open(options.activations);
  require(file.has_attribute("layers") && file.has_attribute("token_hash") && file.has("/block_offsets"), ExitCode::bad_data,
          "{} is no activations file; make it with `concord extract`", options.activations.string());
  ActivationsFacts facts;
  facts.layers = file.integers("layers");
  facts.token_hash = file.attribute("token_hash");
  facts.row_hash = io::row_hash_of(file);
  facts.digest = file.attribute("stage_digest");
  const auto kinds = std::make_shared<const io::Dataset>(file.dataset("/row_kind", {-1}));
  facts.rows = kinds->rows();
  facts.row_kinds = [kinds](Index begin, Index end) { return kinds->read<std::uint8_t>(begin, end - begin); };
  facts.block_offsets = io::read_block_offsets(file, facts.rows);
  return facts;
}

} // namespace concord::features
