// The size of subspaces.h5 that is planned, against files laid out as the stage does.
#include "concord/subspaces/memory_plan.hpp"

#include "subspaces/carried/carried_stage.hpp"
#include "subspaces/claim/headline.hpp"
#include "subspaces/files/acts_file.hpp"
#include "subspaces/files/file_size.hpp"
#include "subspaces/files/removals_file.hpp"
#include "subspaces/geometry/geometry.hpp"
#include "subspaces/worlds.hpp"
#include <filesystem>

namespace concord::subspaces {
namespace {

using test::world;

std::vector<Span> spans_of(Index count) {
  std::vector<Span> spans(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) spans[static_cast<std::size_t>(i)].begin = 3 * i;
  return spans;
}

/// Everything that Stage::lay_out_all() makes but for the lists' texts.
double bytes_on_disk(const std::filesystem::path& path, const Extent& e, Index removals, const std::vector<std::string>& meanings,
                     Index carried) {
  auto file = io::File::create(path);
  lay_out(file, e);
  const std::vector<double> matrix(static_cast<std::size_t>(e.concepts * e.concepts));
  for (const char* name : {"together", "together_phi", "together_npmi", "dealt"})
    file.write(std::string("/concepts/") + name, matrix, {e.concepts, e.concepts});
  lay_out_geometry(file, e);
  std::vector<std::int32_t> pairs;
  for (Index i = 0; i < carried; ++i) pairs.insert(pairs.end(), {0, static_cast<std::int32_t>(i)});
  if (carried > 0) lay_out_carried(file, pairs, e.concepts);
  if (e.effects) {
    std::map<std::string, std::vector<double>> similarity;
    for (const auto& name : meanings) similarity[name] = matrix;
    for (const auto& [name, values] : similarity) file.write("/similarity/" + name, values, {e.concepts, e.concepts});
    std::vector<std::int32_t> numbers;
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(removals); ++i) numbers.push_back(i);
    lay_out_removals(file, e, spans_of(removals), numbers);
    for (const auto& name : claim_datasets(similarity)) file.create_dataset(name, {span_sets, basis_kinds, e.pairs()}, Dtype::f64);
    std::vector<double> strengths(static_cast<std::size_t>(e.strengths), 1);
    ConceptTokens tokens;
    tokens.count.assign(static_cast<std::size_t>(e.concepts), 1);
    lay_out_acts(file, e, similarity, strengths, tokens);
    for (const auto& name : headline_datasets()) file.create_dataset(name, {span_sets, basis_kinds, e.pairs()}, Dtype::f64);
  }
  file.close();
  return static_cast<double>(std::filesystem::file_size(path));
}

TEST(SizeOfTheResult, IsWhatIsPlanned) {
  const std::vector<int> three{1, 2, 3};
  const std::vector<Extent> extents{{.concepts = 32, .members = 32, .layers_a = three, .layers_b = {4, 6}, .effects = true},
                                    {.concepts = 40, .members = 8, .layers_a = three, .layers_b = three, .effects = false},
                                    {.concepts = 24,
                                     .members = 8,
                                     .layers_a = {1},
                                     .layers_b = {2},
                                     .effects = true,
                                     .resampled = true,
                                     .strengths = 3,
                                     .equal_energy = true,
                                     .pseudo = true}};
  int number = 0;
  for (const auto& extent : extents) {
    const Index removals = extent.effects ? 700 : 0;
    const Index carried = extent.strengths > 0 ? 4 : 0;
    const auto path = test::empty_folder("file size " + std::to_string(number++)) / "subspaces.h5";
    if (world().rank() != 0) continue; // the folder is made by all
    const double found = bytes_on_disk(path, extent, removals, {"lin", "path"}, carried);
    const FileCounts counts{
        .phrases = 0, .removals = static_cast<double>(removals), .meanings = 2, .carried_pairs = static_cast<double>(carried)};
    const double datasets = dataset_bytes(extent, counts);
    EXPECT_GT(found, datasets - 100 * static_cast<double>(extent.concepts));
    EXPECT_LT(found, file_bytes(extent, counts)) << "what HDF5 adds: " << found - datasets;
    EXPECT_LT(found - datasets, 0.5 * (1 << 20) + 0.1 * datasets) << "datasets of " << datasets;
  }
}

TEST(SizeOfTheResult, FollowsTheSettings) {
  SubspacesSettings settings;
  SubspacesSize size{.concepts = 32, .phrases = 1000};
  const SubspacesLayers layers{2, 2, 1, 1, 2};
  const double plain = subspaces_bytes(settings, size, layers);
  const double u = 32.0 * 3 * 2 * 8;
  settings.effect_occurrences = 9;
  EXPECT_NEAR(subspaces_bytes(settings, size, layers) - plain, u / 8 * (22 + 4 * 9 * 32 * 4), 1e-6)
      << "four layers of 32 concepts, 9 kinds";
  settings.effect_occurrences = 8;
  for (const auto change : {0, 1, 2, 3, 4}) {
    SubspacesSettings other = settings;
    if (change == 0) other.removals = {"mean", "resample"};
    if (change == 1) other.equal_energy = true;
    if (change == 2) other.steering = {"1"};
    if (change == 3) other.carry = true;
    if (change == 4) other.further_bases = {"pseudo"};
    EXPECT_GT(subspaces_bytes(other, size, layers), plain) << change;
  }
  settings.effects = false;
  EXPECT_LT(subspaces_bytes(settings, size, layers), plain / 3);
}

/// Twice the permutations take twice the time of a claim without the headline's checks and meaning.
TEST(TimeOfTheClaim, GoesWithPermutations) {
  SubspacesSettings settings;
  settings.level_draws = settings.resamples = 0;
  const SubspacesSize size{.concepts = 32, .phrases = 1000};
  const double once = claim_operations(settings, size, {2, 2, 2, 2, 0});
  settings.permutations *= 2;
  EXPECT_DOUBLE_EQ(claim_operations(settings, size, {2, 2, 2, 2, 0}), 2 * once);
  EXPECT_GT(once, 4 * claim_operations(settings, size, {2, 2, 1, 1, 0}) / 2);
}

} // namespace
} // namespace concord::subspaces
