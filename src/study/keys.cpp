#include "concord/core/text.hpp"
#include "concord/study/study.hpp"
#include "concord/subspaces/settings.hpp"

#include <fmt/format.h>

namespace concord::study {
namespace {

using Texts = std::vector<std::string>;

std::vector<Key> model_keys(const std::string& table, const std::string& which) {
  return {{table + ".path", std::string(), "Hugging Face folder of model " + which + " (Gemma-2 or Llama: config.json and safetensors)"},
          {table + ".layers", Texts{"all"}, "\"all\" or a list such as [0, 6, 12]; L is the output of block L, -1 the embedding"},
          {table + ".saes", std::string(),
           "trained SAEs to use, a path with {layer} (SAELens folder or Gemma Scope params.npz); empty: train-sae makes them"}};
}

/// The keys of a stage whose settings are described beside their members.
template <typename Settings>
void add_described(std::vector<Key>& keys, const std::string& table) {
  for (const auto& setting : settings::list_of(Settings()))
    keys.push_back({table + "." + setting.name, setting.value,
                    setting.allowed.words.empty() ? setting.help : setting.help + " (" + join(setting.allowed.words, ", ") + ")",
                    setting.allowed, setting.is_path});
}

std::vector<Key> all_keys() {
  std::vector<Key> keys{
      {"study.name", std::string("study"), "name shown in the report"},
      {"study.output", std::string("runs/study"), "folder of all results"},
      {"study.seed", Index{0}, "seed of every random number"},
      {"study.paper", false,
       "take the published pipeline's choices as defaults: its pairing and filters, r > 0.1, SVCCA of one component, 100 shuffles and "
       "random subsets (docs/concepts.md)"},

      {"corpus.paths", Texts{}, "text files, folders of .txt files, or patterns"},
      {"corpus.tokenizer", std::string(), "SentencePiece model (tokenizer.model) that both models share"},
      {"corpus.token_ids", std::string(),
       "instead of text: .npy of token ids [contexts, length], or a tokens.h5, made elsewhere (scripts/tokenize_hf.py)"},
      {"corpus.bos_id", Index{2}, "with token_ids in .npy: the id that opens contexts"},
      {"corpus.documents", std::string("blank-line"), "what separates documents: \"blank-line\" or \"file\""},
      {"corpus.context", Index{1024}, "longest context in tokens, BOS included; contexts never span documents"},
      {"corpus.max_tokens", Index{0}, "stop behind the last context that fits; 0: the whole corpus"},
  };
  for (const auto& [table, which] : {std::pair{"model.a", "A"}, std::pair{"model.b", "B"}}) {
    const auto model = model_keys(table, which);
    keys.insert(keys.end(), model.begin(), model.end());
  }
  const std::vector<Key> stages{
      {"extract.dtype", std::string("bf16"), "type of stored activations: f32, f16 or bf16"},
      {"extract.compute", std::string("f32"), "type of the forward pass: f32 or bf16"},
      {"extract.batch", Index{32}, "contexts in one forward pass"},
      {"extract.loss", false, "also compute the mean next-token cross-entropy over the corpus"},
      {"extract.device", std::string("auto"), "cpu, cuda, or auto (a GPU when libtorch sees one)"},
      {"extract.allow_shared_gpu", false, "let several ranks share a GPU"},
      {"extract.layer_shards", Index{1}, "ranks that share one copy of the model, each with some of its layers"},
      {"extract.fused", false, "never write activations.h5: train-sae and encode run the model themselves"},
      {"extract.memory_gib", 0.0, "memory a rank may take; 0: what its node has free, divided by the ranks there"},
      {"extract.compress", Index{0}, "level of deflate for the stored rows, 1 to 9; 0: none"},
      {"extract.commit_seconds", 10.0,
       "time between commits; a kill loses at most that much. With extract.compress each is a file: take minutes"},

      {"sae.kind", std::string("topk"), "topk, batch-topk, matryoshka, relu, gated or jumprelu"},
      {"sae.latents", Index{16384}, "F, latents of each SAE"},
      {"sae.k", Index{64}, "active latents of a row, of the TopK kinds (batch-topk and matryoshka: on average)"},
      {"sae.prefixes", Index{5}, "matryoshka: nested SAEs of F, F/2, F/4, ... latents"},
      {"sae.sparsity", 0.0,
       "relu, gated, jumprelu: weight of the penalty; 0: by the norm n of the rows: 0.08 n (L1), 6e-4 n^2 (jumprelu's L0), 2.5e-3 n^2 (its "
       "tanh)"},
      {"sae.sparsity_warmup", 0.05, "first part of the steps, over which sae.sparsity rises from 0"},
      {"sae.penalty", std::string("step"), "jumprelu: \"step\" (L0) or \"tanh\""},
      {"sae.bandwidth", 0.0, "jumprelu: width of the rectangle that thresholds learn through; 0: 0.001 n (tanh: 0.03 n)"},
      {"sae.threshold", 0.0, "jumprelu: thresholds at the start; 0: 0.001 n (tanh: 0.0015 n)"},
      {"sae.normalise", std::string("sqrt-d"),
       "scale of training: \"sqrt-d\" (mean norm sqrt(d)), \"unit-square\" (mean squared norm 1) or \"none\"; folded into the saved SAE"},
      {"sae.groups", Index{1}, "groups of ranks that train layers side by side; 1: all ranks train one layer after the other"},
      {"sae.recovered_contexts", Index{64},
       "contexts on which the model runs with each SAE spliced in, for the cross-entropy recovered; 0: none"},
      {"sae.crosscoders", Texts{},
       "pairs of a layer of A and one of B, [\"3:5\"], on which to train a crosscoder: one SAE over the rows of both"},
      {"sae.variants", Texts{}, "also train these on the same rows, each batch read once: [\"k=32\", \"latents=4096 seed=2\"]"},
      {"sae.steps", Index{0}, "training steps; 0: as many as sae.rows needs"},
      {"sae.rows", Index{500'000'000}, "rows seen in all when steps is 0 (several passes when the corpus is smaller)"},
      {"sae.batch", Index{4096}, "rows of a global batch, all ranks together"},
      {"sae.learning_rate", 0.0, "Adam's step size; 0: 2e-4 (jumprelu: 7e-5) / sqrt(F / 2^14)"},
      {"sae.warmup_steps", Index{1000}, "linear warm-up, at most a tenth of the steps"},
      {"sae.decay_fraction", 0.2, "last part of the steps, with linear decay to 0"},
      {"sae.clip", 1.0, "largest norm of the gradient"},
      {"sae.aux_weight", 1.0 / 32.0, "weight of the AuxK loss that revives dead latents; 0: off"},
      {"sae.aux_k", Index{0}, "dead latents AuxK uses a row; 0: d / 2"},
      {"sae.dead_after", Index{10'000'000}, "rows, over all ranks, without firing that make a latent dead"},
      {"sae.held_out", 0.02, "share of rows kept for evaluation (at most 65,536)"},
      {"sae.keep_special", false, "also train on BOS rows"},
      {"sae.max_norm", 10.0,
       "rows longer than this many medians of the layer's norms (attention sinks) are left out of training and evaluation; 0: none"},
      {"sae.reduction", std::string("reproducible"),
       "how ranks sum gradients: \"reproducible\" (the same bits at any number of ranks) or \"fast\""},
      {"sae.device", std::string("cpu"),
       "cpu, or cuda: one GPU a rank, with sae.reduction = \"fast\" (torch: the GPU's code on the CPU, to check it)"},
      {"sae.gpu_exchange", std::string("auto"),
       "how GPU ranks share sums and weights: \"host\" (MPI), \"nccl\" (a GPU each), or nccl where it is built in and each rank has a GPU"},
      {"sae.allow_shared_gpu", false, "let several ranks train on one GPU"},
      {"sae.order", std::string("global"),
       "\"global\": one random order over all rows; \"buffer\": windows of shuffled blocks, as with extract.fused"},
      {"sae.buffer_rows", Index{1 << 20}, "rows of all ranks in a window of the buffer"},
      {"sae.memory_gib", 4.0, "rows a rank holds in memory; beyond it they are read in sorted windows"},
      {"sae.checkpoint_seconds", 300.0, "time between checkpoints; a kill loses at most that much"},

      {"encode.top", Index{20}, "strongest activations kept a feature, for the report and the token filters"},
      {"encode.keep_special", false, "also encode and count BOS rows"},
      {"encode.max_norm", 10.0,
       "rows longer than so many median norms of their layer get no codes, as if no feature were active; 0: all get theirs"},
      {"encode.before_top_k", false,
       "TopK SAEs: every positive pre-activation instead of the k largest (the predecessor's Pythia runs); dense, for small corpora"},

      {"skyline.layers", Texts{},
       "layers of A, [3], whose SAE is trained once more with another seed and compared with the first through the same stages"},
      {"skyline.saes", std::string(""), "second SAEs of these layers, a path with {layer}; empty: trained as A's are"},

      {"correlate.best", Index{16}, "best partners kept a feature, both ways"},
      {"correlate.pairing", std::string("mutual"),
       "mutual, greedy, optimal, many-to-one, or paper (the published order-dependent one-to-one)"},
      {"correlate.min_r", 0.0, "keep matches with r above it (the papers: 0.1)"},
      {"correlate.max_q", 0.05, "false discovery rate of the matches, where there is a null; 1: keep all"},
      {"correlate.min_firings", Index{10}, "both features must be active on at least so many rows"},
      {"correlate.drop_non_concept", false, "drop matches with a junk token (punctuation, BOS) among the top five of either feature"},
      {"correlate.need_shared_token", false, "drop matches whose top fives share no token"},
      {"correlate.null_shifts", Index{4}, "passes with B's documents shifted against A's: a null for the best r; 0: none"},
      {"correlate.level", 0.05, "level of each feature's threshold for the best r"},
      {"correlate.matrix", false, "also write all correlations, matches.h5.matrix/"},
      {"correlate.matrix_coactive", false, "instead of all write those of features that are active together, sparse, with their counts"},
      {"correlate.groups", Index{0}, "groups of ranks with a pair of layers each; 0: by size"},
      {"correlate.memory_gib", 4.0, "features and sums on each rank; what does not fit is read in pieces"},
      {"correlate.device", std::string("cpu"),
       "cpu, or cuda: one GPU a rank, the same bits (emulated: the GPU's kernels on the CPU, to check them)"},
      {"correlate.allow_shared_gpu", false, "let several ranks correlate on one GPU"},
      {"correlate.gpu_memory_gib", 0.0, "features and sums on each rank's GPU; 0: its part of what is free"},

      {"compare.measures",
       Texts{"svcca", "svcca_squared", "svcca_rank1", "rsa", "rsa_pearson", "rsa_rho_a", "cka", "cka_debiased", "procrustes", "mutual_knn"},
       "which measures; there are also pwcca, rsa_kendall and principal_angles (docs/concepts.md)"},
      {"compare.svcca_variance", 0.99, "share of variance that SVCCA keeps"},
      {"compare.svcca_k", Index{0}, "components that SVCCA keeps instead; 0: by variance"},
      {"compare.route", std::string("auto"),
       "to the singular vectors: \"gram\" (fast), \"qr\" (accurate whatever the data), or \"auto\": gram where it is accurate"},
      {"compare.rdm", std::string("correlation"),
       "dissimilarity of two features in RSA and mutual_knn: \"correlation\", \"cosine\" or \"euclidean\""},
      {"compare.neighbours", Index{10}, "of mutual_knn"},
      {"compare.kendall_samples", Index{100000}, "pairs of RDM entries drawn for rsa_kendall"},
      {"compare.permutations", Index{199}, "shuffled pairings of the null; p is at least 1 / (permutations + 1)"},
      {"compare.stratified_permutations", Index{99}, "pairings shuffled among features alike in firing rate and decoder norm"},
      {"compare.subsets", Index{20}, "random features with their best partners, as many as are matched, compared in the same way"},
      {"compare.level", 0.05, "of calibrated scores: 0 unless significant at it"},
      {"compare.groups", Index{0}, "groups of ranks, each of which compares one layer pair at a time; 0: by number"},
      {"compare.memory_gib", 4.0, "memory of a rank for RSA; what does not fit is computed twice, and its null is the closed form"},
      {"compare.min_matches", Index{10}, "fewer matched features leave a layer pair undefined"},

  };
  keys.insert(keys.end(), stages.begin(), stages.end());
  add_described<subspaces::SubspacesSettings>(keys, "subspaces");
  const std::vector<Key> report{
      {"report.python", std::string(), "Python with h5py, numpy and matplotlib; empty: $CONCORD_PYTHON, else .venv, else python3"},
      {"report.top_matches", Index{10}, "best matched features shown"},
  };
  keys.insert(keys.end(), report.begin(), report.end());
  return keys;
}

std::string shown(const Value& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, bool>)
          return v ? "true" : "false";
        else if constexpr (std::is_same_v<T, std::string>)
          return "\"" + v + "\"";
        else if constexpr (std::is_same_v<T, Texts>)
          return v.empty() ? "[]" : v.size() == 1 ? "\"" + v[0] + "\"" : "[\"" + join(v, "\", \"") + "\"]";
        else
          return fmt::format("{}", v);
      },
      value);
}

} // namespace

const std::map<std::string, Value>& paper_defaults() {
  static const std::map<std::string, Value> values{
      {"encode.keep_special", true},
      {"encode.max_norm", 0.0},
      {"correlate.pairing", std::string("paper")},
      {"correlate.min_r", 0.1},
      {"correlate.max_q", 1.0}, // a fixed cut alone
      {"correlate.min_firings", Index{1}},
      {"correlate.drop_non_concept", true},
      {"correlate.need_shared_token", true},
      {"compare.svcca_k", Index{1}}, // what the published code comes down to
      {"compare.measures", Texts{"svcca", "svcca_rank1", "rsa"}},
      {"compare.permutations", Index{100}},
      {"compare.stratified_permutations", Index{0}},
      {"compare.subsets", Index{100}},
  };
  return values;
}

const std::vector<Key>& keys() {
  static const std::vector<Key> table = all_keys();
  return table;
}

std::string keys_as_markdown() {
  std::string text;
  std::string table;
  for (const auto& key : keys()) {
    const std::size_t dot = key.name.rfind('.');
    if (key.name.substr(0, dot) != table) {
      table = key.name.substr(0, dot);
      text += fmt::format("\n## [{}]\n\n| key | default | meaning |\n|---|---|---|\n", table);
    }
    text += fmt::format("| `{}` | `{}` | {} |\n", key.name.substr(dot + 1), shown(key.fallback), key.help);
  }
  return text;
}

} // namespace concord::study
