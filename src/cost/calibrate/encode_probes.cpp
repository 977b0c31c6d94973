#include "concord/comm/session.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/features/code_spool.hpp"

#include "cost/calibrate/probe.hpp"
#include "features/exact_sums.hpp"
#include "features/layer_totals.hpp"

namespace concord::cost {

namespace {

/// Codes of a layer on their way through `encode`, apart from the search: into the spool, counted, and read again for the file.
struct CodesOnTheirWay {
  static constexpr Index latents = 4096, active = 32;
  static constexpr std::size_t places = 20;
  comm::Communicator self{MPI_COMM_SELF, boost::mpi::comm_attach};
  sae::SparseRows codes, read;
  std::filesystem::path folder;
  Index rows;

  CodesOnTheirWay(std::filesystem::path spools, Index rows_) : folder(std::move(spools)), rows(rows_) {
    const Philox random(1, "calibrate codes");
    std::uint64_t draw = 0;
    for (Index r = 0; r < rows; ++r) {
      for (Index a = 0; a < active; ++a) { // one of each part of the latents, those in front of it more often
        const double u = random.uniform(draw++);
        codes.index.push_back(static_cast<std::int32_t>(latents / active * a + static_cast<Index>(u * u * (latents / active))));
        codes.value.push_back(static_cast<float>(random.uniform(draw++)));
      }
      codes.ends.push_back(codes.entries());
    }
  }

  void run() {
    features::CodeSpool spool(self, folder, "calibrate", true);
    spool.append(0, 0, latents, 0, codes);
    spool.share();
    spool.open(0);
    features::LayerTotals totals(latents);
    read.clear();
    spool.codes(0, rows, read);
    for (Index r = 0; r < rows; ++r)
      for (Index e = read.begin(r); e < read.end(r); ++e) {
        const auto j = at(read.index[at(e)]);
        const float value = read.value[at(e)];
        totals.statistics.count[j] += 1;
        totals.statistics.max[j] = std::max(totals.statistics.max[j], value);
        totals.largest[j] = std::max(totals.largest[j], std::abs(value));
        totals.top[j].offer(value, r, places);
      }
    features::ExactSums sums(totals.largest);
    read.clear();
    spool.codes(0, rows, read);
    for (std::size_t e = 0; e < read.index.size(); ++e) sums.add(read.index[e], read.value[e]);
    spool.remove();
  }
};

} // namespace

void add_encode_families(const std::filesystem::path& work, double part, std::vector<Family>& families) {
  families.push_back({"codes", {Work::codes}, [work, part] {
                        auto codes = std::make_shared<CodesOnTheirWay>(work / "codes", part_of(8192, part));
                        const auto entries = static_cast<double>(codes->rows * CodesOnTheirWay::active);
                        return std::vector<Probe>{{"codes of an encoding", {{Work::codes, entries}}, [codes] { codes->run(); }}};
                      }});
}

} // namespace concord::cost
