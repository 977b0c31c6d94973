#include "subspaces/stage/stage.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/model/weights.hpp"

#include "subspaces/carried/carried_stage.hpp"
#include "subspaces/claim/headline.hpp"
#include "subspaces/files/file_size.hpp"
#include "subspaces/files/removals_file.hpp"
#include <limits>

namespace concord::subspaces {

Stage::Stage(const comm::Communicator& comm, const SubspacesOptions& options)
    : comm_(comm), options_(options), settings_(options.settings), a_('a', options.a), b_('b', options.b),
      lists_(concepts::read_concept_lists(comm, options.settings.concepts, options.settings.fold_case)) {
  comm::agree(comm_, [&] { open(); });
  for (Side* side : {&a_, &b_}) {
    if (settings_.effects) side->runner = std::make_unique<ModelRunner>(comm_, side->in.model, *tokens_);
    for (const int layer : side->layers)
      key_.inputs[fmt::format("sae_{}/{}", side->name, layer_name(layer))] = sae::sae_digest(comm_, sae::sae_path(side->in.saes, layer));
    if (settings_.effects) key_.inputs[std::string("model_") + side->name] = model::model_digest(comm_, side->in.model.model);
  }
}

void Stage::run() {
  const auto claim = io::claim_unless_done(comm_, options_.out, key_, options_.force);
  if (!claim) {
    log_info("subspaces: {} is done", options_.out.string());
    return;
  }
  find_spans();
  require_origins();
  const auto pairs_carried = static_cast<Index>(carried_pairs().size()) / 2;
  const double bytes = file_bytes(extent_, {.phrases = static_cast<double>(lists_.phrases.size()),
                                            .removals = static_cast<double>(effect_spans_.size()),
                                            .meanings = static_cast<double>(similarity_.size()),
                                            .carried_pairs = static_cast<double>(pairs_carried)});
  io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, bytes,
                    [&](io::File& file) { lay_out_all(file); });
  const Index units = units_before_carrying() + directions * pairs_carried;
  Progress progress(options_.stage_word, units, "units", output.units_done());
  for (Index unit = output.units_done(); unit < units; ++unit) {
    stop_ = comm::StopWithin();
    const comm::UnitOfWork all_of_it(stop_);
    run_unit(output, unit);
    output.commit(unit + 1);
    progress.update(unit + 1);
    if (unit + 1 < units && comm::stop_requested(comm_)) comm::throw_stopped("subspaces");
  }
  output.finish();
  say_done(progress.seconds());
}

void Stage::say_done(double seconds) const {
  std::string gpu_memory; // of the model that was there last
  for (const Side* side : {&a_, &b_})
    if (side->runner && !side->runner->gpu_memory().empty()) gpu_memory = side->runner->gpu_memory();
  say_stage_ok(options_.stage_word, seconds,
               fmt::format("concepts={} spans={} layers={} pairs={} occurrences={:.3f} values={:.3f} membership={:.3f} members={:.3f} "
                           "alike={:.3f} geometry={:.3f} peak={}{}",
                           defined_count(), spans_.size(), extent_.layers(), extent_.pairs(), longest(seconds_.occurrences),
                           longest(seconds_.values), longest(seconds_.of_members.membership), longest(seconds_.of_members.members),
                           longest(seconds_.alike), longest(seconds_.geometry), human_bytes(longest(peak_memory())), gpu_memory),
               options_.out.string());
}

void Stage::lay_out_all(io::File& file) const {
  lay_out(file, extent_);
  write_concepts(file, lists_, counts_, defined_);
  for (const auto& [name, matrix] :
       {std::pair{"/concepts/together", &together_.log_odds}, std::pair{"/concepts/together_phi", &together_.phi},
        std::pair{"/concepts/together_npmi", &together_.npmi}, std::pair{"/concepts/dealt", &dealt_}})
    file.write(name, *matrix, {extent_.concepts, extent_.concepts});
  if (extent_.pseudo) write_pseudo_words(file, pseudo_);
  lay_out_geometry(file, extent_);
  if (settings_.carry) lay_out_carried(file, carried_pairs(), extent_.concepts);
  if (!settings_.effects) return;
  for (const auto& [name, matrix] : similarity_) file.write("/similarity/" + name, matrix, {extent_.concepts, extent_.concepts});
  lay_out_removals(file, extent_, spans_, effect_spans_);
  const std::vector<double> nothing(static_cast<std::size_t>(span_sets * basis_kinds * extent_.pairs()),
                                    std::numeric_limits<double>::quiet_NaN());
  for (const auto& name : claim_datasets(similarity_)) file.write(name, nothing, {span_sets, basis_kinds, extent_.pairs()});
  lay_out_acts(file, extent_, similarity_, strengths_, first_tokens_);
  for (const auto& name : headline_datasets()) file.create_dataset(name, {span_sets, basis_kinds, extent_.pairs()}, Dtype::f64);
}

void Stage::run_unit(io::Output& output, Index unit) {
  const auto layers_a = static_cast<Index>(a_.layers.size());
  if (unit == layers_a && a_.runner) a_.runner->release(); // a model at a time
  if (unit == layers_a) a_.directions = {};
  if (unit == extent_.layers() && b_.runner) b_.runner->release();
  if (unit == extent_.layers() + extent_.pairs()) kept_values_.clear();
  if (unit < extent_.layers())
    run_layer(output, unit < layers_a ? a_ : b_, unit < layers_a ? unit : unit - layers_a);
  else if (unit < extent_.layers() + extent_.pairs())
    run_pair(output, unit - extent_.layers());
  else if (unit < extent_.layers() + extent_.pairs() + families())
    run_family(output, unit - extent_.layers() - extent_.pairs());
  else if (unit + 1 < units_before_carrying())
    run_other_claims(output);
  else if (unit < units_before_carrying())
    run_headline(output);
  else
    run_carried(output, unit - units_before_carrying());
}

} // namespace concord::subspaces
