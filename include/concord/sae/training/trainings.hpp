#pragma once
/// Several trainings in one run: variants of one that share its rows, and layers side by side on groups of ranks. Collective over `comm`.

#include "concord/sae/training/train.hpp"

#include <string>
#include <vector>

namespace concord::sae {

/// A training by itself: Trainer on the rows that `options` name. @throws Error input_missing, bad_data, config, io, stopped; agreed.
void train(const comm::Communicator& comm, const TrainOptions& options);

/// The training and variants of it on the same rows in the same order, each batch read once. A variant changes settings, "k=32" or
/// "latents=4096 seed=2" (keys: kind, latents, k, sparsity, learning_rate, seed; seed=2 is what a study of seed 2 has).
/// @throws as train(); Error config for variants that are the same.
void train_variants(const comm::Communicator& comm, const TrainOptions& options, const std::vector<std::string>& variants);

/// Trainings dealt to `groups` groups of ranks, which work side by side; each group trains its own one after the other. With reduction
/// "reproducible" the SAEs do not depend on the groups. @throws as train(); an error of one group ends the job.
void train_side_by_side(const comm::Communicator& comm, const std::vector<TrainOptions>& trainings, int groups,
                        const std::vector<std::string>& variants);

/// Trainers of the training and its variants on rows of `feed`. Collective over `comm`; it and `feed` must outlive them.
/// @throws Error config, also for variants that are the same; agreed.
std::vector<std::unique_ptr<Trainer>> trainers_of(const comm::Communicator& comm, const TrainOptions& options,
                                                  const std::vector<std::string>& variants, RowFeed& feed);

/// One variant's settings; its output stands beside. Local. @throws Error config.
TrainOptions variant_of(const TrainOptions& options, const std::string& variant);

/// Where a variant's SAE lies: "a/saes/layer_003" with "k=32" is "a/saes@k=32/layer_003". Local.
std::string variant_location(const std::string& location, const std::string& variant);

} // namespace concord::sae
