#include "concord/fused/encode.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/extractor.hpp"
#include "concord/features/code_spool.hpp"
#include "concord/sae/search/encoder.hpp"

#include "fused/facts.hpp"
#include <algorithm>
#include <map>

namespace concord::fused {

namespace {

/// The SAEs of this rank's layers, applied to rows as they come. The ranks of a layer on one node share its weights.
class Encoders {
public:
  /// Collective.
  Encoders(const comm::Communicator& comm, const extract::Extractor& extractor, const extract::ExtractOptions& extract,
           const features::EncodeOptions& encode)
      : extractor_(extractor), store_(extract.dtype) {
    const auto& mine = extractor.my_layers();
    for (const int layer : extractor.layers()) {
      const bool has = std::find(mine.begin(), mine.end(), layer) != mine.end();
      auto ranks = comm.split(has ? 1 : 0);
      comm::agree_between_groups(comm, [&] {
        if (has) load(layer, std::move(ranks), extract, encode);
      });
    }
  }

  Index latents(int layer) const { return encoders_.at(layer).sae.latents; }

  /// The rows as stored would be read back from a file: they are rounded already. Pieces as in features::encode.
  /// Returns how many rows have no codes for their length.
  Index encode(int layer, const io::RowBuffer& rows, sae::SparseRows& codes) {
    Index left_out = 0;
    auto& one = encoders_.at(layer);
    const Index d = extractor_.config().hidden;
    const Index count = static_cast<Index>(rows.size) / extractor_.row_bytes();
    for (Index begin = 0; begin < count; begin += features::rows_a_piece) {
      const Index end = std::min(count, begin + features::rows_a_piece);
      wide_.resize(static_cast<std::size_t>((end - begin) * d));
      to_float(rows.bytes.get() + begin * extractor_.row_bytes(), store_, wide_);
      one.encoder->encode(wide_, codes);
      left_out += one.limit.blank(wide_, codes);
    }
    return left_out;
  }

private:
  void load(int layer, comm::Communicator ranks, const extract::ExtractOptions& extract, const features::EncodeOptions& encode) {
    auto& one = encoders_[layer];
    const auto path = sae::sae_path(encode.saes, layer);
    one.ranks = std::move(ranks);
    one.sae = sae::load_sae_on_nodes(one.ranks, path);
    comm::agree(one.ranks, [&] {
      require(one.sae.d == extractor_.config().hidden, ExitCode::bad_data, "the SAE {} is {} wide, the model {} is {} wide", path.string(),
              one.sae.d, extract.model.string(), extractor_.config().hidden);
    });
    one.encoder = std::make_unique<sae::Encoder>(one.sae, encode.before_top_k, &one.ranks);
    one.limit = features::norm_limit(one.ranks, encode, layer, one.sae.d, [] { return std::vector<float>(); });
  }

  struct One {
    comm::Communicator ranks; ///< that have the layer
    sae::Sae sae;
    std::unique_ptr<sae::Encoder> encoder;
    sae::NormLimit limit;
  };
  const extract::Extractor& extractor_;
  Dtype store_;
  std::map<int, One> encoders_; ///< a map: encoders keep references to their SAEs
  std::vector<float> wide_;
};

std::vector<Index> missing_blocks(const extract::Extractor& extractor, const features::CodeSpool& spool) {
  std::vector<Index> missing;
  for (Index b = 0; b < extractor.blocks(); ++b) {
    const Index first = extractor.block_offsets()[static_cast<std::size_t>(b)];
    for (const int layer : extractor.layers())
      if (!spool.has(layer, first)) {
        missing.push_back(b);
        break;
      }
  }
  return missing;
}

/// Runs the model over the blocks that are not encoded yet. Returns whether it was asked to stop.
bool fill(const comm::Communicator& comm, extract::Extractor& extractor, const extract::ExtractOptions& extract,
          const features::EncodeOptions& encode, features::CodeSpool& spool) {
  const auto blocks = missing_blocks(extractor, spool);
  Encoders encoders(comm, extractor, extract, encode);
  Index todo = 0;
  for (const Index b : blocks) todo += extractor.block_rows(b);
  Index done = extractor.tokens().count() - todo;
  Progress progress(encode.stage_word, extractor.tokens().count(), "tokens", done);
  double synced = 0;
  sae::SparseRows codes;
  const extract::Taker taker{[&](int layer, Index block, io::RowBuffer rows) {
    codes.clear();
    const Index left_out = encoders.encode(layer, rows, codes);
    spool.append(layer, extractor.block_offsets()[static_cast<std::size_t>(block)], encoders.latents(layer), left_out, codes);
    extractor.pool().give_back(std::move(rows));
    if (progress.seconds() - synced >= extract.commit_seconds) {
      spool.sync();
      synced = progress.seconds();
    }
  }};
  return extractor.run(blocks, taker, /*stoppable=*/true, [&](Index rows) { progress.update(done += rows); });
}

} // namespace

void encode(const comm::Communicator& comm, const extract::ExtractOptions& extract, const features::EncodeOptions& encode) {
  extract::ExtractOptions without_loss = extract;
  without_loss.loss = false;
  without_loss.stage_word = encode.stage_word;
  extract::Extractor extractor(comm, without_loss);
  features::ActivationsFacts facts;
  comm::agree(comm, [&] { facts = facts_of(extractor); });
  const auto claim = features::claim_unless_encoded(comm, encode, facts);
  if (!claim) return;
  extractor.load_model();
  StageKey key = extractor.key();
  for (const int layer : extractor.layers())
    key.inputs["sae/" + layer_name(layer)] = sae::sae_digest(comm, sae::sae_path(encode.saes, layer));
  if (encode.max_norm > 0) key.settings["max_norm"] = encode.max_norm;
  features::CodeSpool spool(comm, encode.out.string() + ".codes", key.digest(), encode.force);
  const bool stopped = fill(comm, extractor, without_loss, encode, spool);
  spool.share();
  if (stopped) comm::throw_stopped(encode.stage_word.c_str());
  features::encode_codes(comm, encode, facts, spool);
  spool.remove();
}

} // namespace concord::fused
