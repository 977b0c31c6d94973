#include "concord/correlate/correlate.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/token_texts.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/correlate/memory_plan.hpp"
#include "concord/io/output.hpp"

#include "correlate/correlation_inputs.hpp"
#include "correlate/matches_csv.hpp"
#include "correlate/matching/pair_result.hpp"
#include "correlate/pair_run.hpp"
#include <optional>

namespace concord::correlate {
namespace {

class Correlation {
public:
  Correlation(const comm::Communicator& comm, const CorrelateOptions& options) : comm_(comm), options_(options), inputs_(comm, options) {
    io::require_same_key(comm_, inputs_.key()); // before ranks part into groups
    groups_ = groups_for(options_, inputs_.pairs(), comm_.size());
    number_ = comm_.rank() * groups_ / comm_.size();
    group_ = comm_.split(number_);
    if (options_.device == Device::cuda)
      gpu_ = comm::bind_gpu(comm_, options_.device, options_.allow_shared_gpu);
    else
      comm::warn_of_idle_gpus("correlate", "correlate.device = \"cuda\"");
    const auto& rules = options_.rules;
    if (!rules.drop_non_concept && !rules.need_shared_token) return;
    const comm::StopWithin stop;
    comm::agree(comm_, [&] { // matching is done by the first rank of a group
      require(!options_.tokens.empty() && inputs_.a().file() != nullptr && inputs_.b().file() != nullptr, ExitCode::config,
              "the token filters need features.h5 files and their tokens.h5");
      if (group_.rank() != 0) return;
      for (const auto* tokens : {&options_.tokens, &options_.tokens_b})
        if (!tokens->empty()) corpus::TokenReader(*tokens).check(&stop);
      tokens_.emplace(options_.tokens);
      if (!options_.tokens_b.empty()) tokens_b_.emplace(options_.tokens_b);
    });
    stop.throw_if_wanted(comm_, "correlate");
  }

  void run() {
    const auto claim = io::claim_unless_done(comm_, options_.out, inputs_.key(), options_.force);
    if (!claim)
      log_info("{}: {} is done", options_.stage_word, options_.out.string());
    else
      correlate_pairs();
    if (options_.csv.empty()) return;
    const io::Claim claim_of_text(comm_, options_.csv);
    const comm::StopWithin stop;
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) write_csv(options_.out, options_.csv, stop);
    });
    stop.throw_if_wanted(comm_, "correlate");
  }

private:
  PairRun::Texts texts() const {
    if (!tokens_) return {};
    return {&*tokens_, tokens_b_ ? &*tokens_b_ : &*tokens_};
  }

  void require_memory() const {
    CorrelateSize size{.rows = static_cast<double>(inputs_.a().rows()),
                       .ranks = group_.size(),
                       .on_node = comm::node_size(group_),
                       .threads = thread_count()};
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) inputs_.add_most(size);
    });
    for (double* number : {&size.features_a, &size.active_a, &size.features_b, &size.active_b}) comm::spread(comm_, *number);
    comm::require_memory(group_, correlate_memory(options_, size), "lower correlate.memory_gib, or start fewer ranks a node");
  }

  void correlate_pairs() {
    io::Output output(comm_, options_.out, inputs_.key(), io::Output::Writers::root, options_.force, inputs_.file_bytes(),
                      [&](io::File& file) { inputs_.lay_out(file); });
    Progress progress(options_.stage_word, inputs_.pairs(), "pairs", output.units_done());
    const Index begun = output.units_done(); // the last line counts the pairs of this run
    require_memory();
    PairCorrelator correlator(group_, settings());
    PairRun work(group_, options_, inputs_, texts());
    Index matched = 0;
    for (Index done = begun; done < inputs_.pairs(); done += groups_) {
      const Index last = std::min(inputs_.pairs(), done + groups_);
      matched += run_round(output, correlator, work, done, last);
      output.commit(last);
      progress.update(last);
      if (last < inputs_.pairs() && comm::stop_requested(comm_)) comm::throw_stopped("correlate");
    }
    output.finish();
    say_stage_ok(options_.stage_word, progress.seconds(),
                 fmt::format("pairs={} matched={} correlating={:.3f} peak={}", inputs_.pairs() - begun, matched,
                             comm::max_of(comm_, work.seconds()), human_bytes(comm::max_of(comm_, peak_memory()))),
                 options_.out.string());
  }

  PearsonSettings settings() const {
    PearsonSettings s;
    s.best = options_.best;
    s.shift = inputs_.shift();
    s.shifts = inputs_.shifts();
    s.null_features = options_.null_features;
    s.seed = options_.seed;
    s.memory = options_.memory_gib * 0x1p30;
    // Rows of the matrix are written as they come, by the thread that speaks to MPI.
    s.threads = options_.writes_matrix() ? 1 : thread_count();
    s.grid_columns = options_.writes_matrix() ? 1 : options_.grid_columns;
    if (options_.device == Device::cuda) s.sums_by = SumsBy::gpu;
    if (options_.device == Device::emulated) s.sums_by = SumsBy::emulated_gpu;
    s.gpu = gpu_.number;
    s.gpu_memory = options_.gpu_memory_gib > 0 ? options_.gpu_memory_gib * 0x1p30 : gpu_.memory;
    if (s.sums_by == SumsBy::emulated_gpu && s.gpu_memory == 0) s.gpu_memory = s.memory;
    return s;
  }

  /// Each group does one of the pairs [done, last); rank 0 writes them. Returns the matched features.
  Index run_round(io::Output& output, PairCorrelator& correlator, PairRun& work, Index done, Index last) {
    std::vector<char> bytes;
    comm::agree_between_groups(comm_, [&] {
      if (done + number_ >= last) return;
      const PairResult result = work.run(correlator, done + number_);
      if (group_.rank() == 0) bytes = packed(result);
    });
    Index matched = 0;
    Index pair = done; // ranks come in the order of their groups
    comm::gather_each(comm_, bytes, [&](int, std::vector<char>& packed_result) {
      const char* next = packed_result.data();
      const PairResult result = unpacked(next);
      const MatchSide a{inputs_.a().source(inputs_.layer_a(pair))->totals().count, {}};
      const MatchSide b{inputs_.b().source(inputs_.layer_b(pair))->totals().count, {}};
      write_pair(output.file(), pair_group(inputs_.layer_a(pair), inputs_.layer_b(pair)), result, inputs_.a().rows(), a, b);
      matched += result.matching.counts.back();
      ++pair;
    });
    return comm::max_of(comm_, matched);
  }

  const comm::Communicator& comm_;
  const CorrelateOptions& options_;
  CorrelationInputs inputs_;
  std::optional<corpus::TokenTexts> tokens_;   ///< with the filters, on the first rank of each group
  std::optional<corpus::TokenTexts> tokens_b_; ///< where B has a tokenizer of its own
  int groups_ = 1;
  int number_ = 0; ///< of this rank's group
  comm::Communicator group_;
  comm::Gpu gpu_;
};

} // namespace

void correlate(const comm::Communicator& comm, const CorrelateOptions& options) {
  Correlation(comm, options).run();
}

CorrelateOptions shifted(CorrelateOptions options, double shift_a, double shift_b) {
  options.shift_a = shift_a;
  options.shift_b = shift_b;
  options.best = 2; // the least
  options.null_shifts = 0;
  options.matrix = options.matrix_coactive = false;
  options.rules = {};
  options.csv.clear();
  return options;
}

int groups_for(const CorrelateOptions& options, Index pairs, int ranks) {
  const int most = static_cast<int>(std::min<Index>(pairs, ranks));
  if (options.groups > 0) return std::min(options.groups, most);
  constexpr int ranks_a_group = 64; // beyond it the rows of B's shares get short
  return std::clamp(ranks / ranks_a_group, 1, most);
}

} // namespace concord::correlate
