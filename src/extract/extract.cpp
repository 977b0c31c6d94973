#include "concord/extract/extract.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/extractor.hpp"
#include "concord/io/output.hpp"
#include "concord/io/rows/segments.hpp"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cstring>

namespace concord::extract {

namespace {

/// activations.h5 while it is made: where each block of each layer belongs, and which blocks are there.
class ActivationsFile {
public:
  ActivationsFile(const comm::Communicator& comm, Extractor& extractor, const ExtractOptions& options)
      : comm_(comm), extractor_(extractor), options_(options), output_(comm, options.out, extractor.key(), io::Output::Writers::by_offset,
                                                                       options.force, bytes(), [&](io::File& file) { lay_out(file); }) {
    committed_.assign(at(extractor_.blocks()), 1);
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) find_places();
    });
    share_places();
    if (packed()) open_segments();
    comm::agree(comm_, [&] {
      writer_ = std::make_unique<io::RowWriter>(output_.partial(), extractor_.pool(), options_.commit_seconds, queue_bytes());
    });
  }

  /// Blocks without all their commit marks.
  std::vector<Index> missing() const {
    std::vector<Index> blocks;
    for (Index b = 0; b < extractor_.blocks(); ++b)
      if (committed_[at(b)] == 0) blocks.push_back(b);
    return blocks;
  }

  void take(int layer, Index block, io::RowBuffer rows) {
    if (packed()) {
      segments_->write("/" + layer_name(layer), block, std::move(rows));
      return;
    }
    const Place& place = places_.at(layer);
    writer_->write(place.rows + static_cast<std::uint64_t>(extractor_.block_offsets()[at(block)] * extractor_.row_bytes()), std::move(rows),
                   place.marks + 8 * static_cast<std::uint64_t>(block));
  }

  void take_loss(Index block, double sum, double count) {
    io::RowBuffer pair = extractor_.pool().take(2 * sizeof(double));
    std::memcpy(pair.bytes.get(), &sum, sizeof sum);
    std::memcpy(pair.bytes.get() + sizeof sum, &count, sizeof count);
    writer_->write(loss_.rows + 16 * static_cast<std::uint64_t>(block), std::move(pair),
                   loss_.marks + 8 * static_cast<std::uint64_t>(block));
  }

  void commit() {
    comm::agree(comm_, [&] {
      if (segments_) segments_->commit();
      writer_->commit();
    });
  }

  void finish() {
    commit();
    writer_.reset();
    segments_.reset();
    comm::agree(comm_, [&] {
      if (packed() && comm_.rank() == 0) show_segments();
    });
    output_.finish();
  }

private:
  struct Place {
    std::uint64_t rows = 0;  ///< offset of the dataset
    std::uint64_t marks = 0; ///< offset of its checksums
  };

  bool packed() const { return options_.compress > 0; }

  std::size_t queue_bytes() const { return static_cast<std::size_t>(extractor_.row_bytes() * extractor_.largest_block() * blocks_waiting); }

  /// Beside the file, and moved with it.
  std::filesystem::path segments_folder() const { return options_.out.string() + ".segments"; }

  /// Expected; half of it where the rows are compressed.
  double bytes() const {
    const auto rows = static_cast<double>(extractor_.tokens().count());
    const double row = static_cast<double>(extractor_.layers().size()) * static_cast<double>(extractor_.row_bytes());
    return rows * (row * (packed() ? 0.5 : 1.0) + 1) + (2 << 20);
  }

  void lay_out(io::File& file) const {
    const auto& tokens = extractor_.tokens();
    const std::vector<std::int64_t> no_marks(at(extractor_.blocks()), 0);
    std::filesystem::remove_all(segments_folder()); // of another run
    if (!packed()) {
      for (const int layer : extractor_.layers()) {
        file.create_dataset("/" + layer_name(layer) + "/x", {tokens.count(), extractor_.config().hidden}, options_.dtype);
        file.write("/" + layer_name(layer) + "/checksums", no_marks);
      }
    }
    auto kinds = file.create_dataset("/row_kind", {tokens.count()}, Dtype::u8);
    for (Index c = 0; c < tokens.contexts(); c += 4096) {
      const auto part = tokens.row_kinds(c, std::min(tokens.contexts(), c + 4096));
      kinds.write_rows(tokens.context_offsets()[at(c)], static_cast<Index>(part.size()), part.data());
    }
    file.write("/context_offsets", tokens.context_offsets());
    file.write("/block_offsets", extractor_.block_offsets());
    if (options_.loss) {
      file.write("/loss/sums", std::vector<double>(at(2 * extractor_.blocks()), 0.0), {extractor_.blocks(), 2});
      file.write("/loss/checksums", no_marks);
    }
    file.write_attribute("token_hash", tokens.hash());
    if (tokens.row_hash() != tokens.hash()) file.write_attribute("row_hash", tokens.row_hash());
    file.write_attribute("model", std::filesystem::absolute(options_.model).string());
    file.write_attribute("model_digest", extractor_.key().inputs["model"].get<std::string>());
    file.write_attribute("layers", nlohmann::json(extractor_.layers()).dump());
    file.write_attribute("hidden", std::to_string(extractor_.config().hidden));
  }

  void find_places() {
    const auto file = io::File::open(output_.partial());
    const auto look = [&](const std::string& rows, const std::string& marks) {
      const auto checksums = file.read<std::int64_t>(marks, {extractor_.blocks()});
      for (std::size_t b = 0; b < checksums.size(); ++b)
        if (checksums[b] == 0) committed_[b] = 0;
      return Place{file.dataset(rows).file_offset(), file.dataset(marks).file_offset()};
    };
    if (!packed())
      for (const int layer : extractor_.layers())
        places_[layer] = look("/" + layer_name(layer) + "/x", "/" + layer_name(layer) + "/checksums");
    if (options_.loss) loss_ = look("/loss/sums", "/loss/checksums");
  }

  /// Which blocks are there is what rank 0 sees: all ranks must run the model over the same ones.
  void share_places() {
    std::vector<Place> places;
    for (const auto& [layer, place] : places_) places.push_back(place);
    places.push_back(loss_);
    comm::broadcast(comm_, places);
    if (!packed())
      for (std::size_t l = 0; l < extractor_.layers().size(); ++l) places_[extractor_.layers()[l]] = places[l];
    loss_ = places.back();
    comm::broadcast(comm_, committed_);
  }

  /// "0003-00001-0000.h5" is of run 3.
  Index run_of_segment(const std::string& file) const {
    const auto run = whole_number(std::string_view(file).substr(0, file.find('-')));
    require(run.has_value() && *run >= 0, ExitCode::bad_data, "{} is no segment of concord; move it away",
            (segments_folder() / file).string());
    return *run;
  }

  /// Finds the blocks of earlier runs, and opens a segment writer of this run's own.
  void open_segments() {
    Index run = 0; // one that no earlier segment carries
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      const auto places = io::read_segments(segments_folder());
      for (const int layer : extractor_.layers()) {
        const auto found = places.find("/" + layer_name(layer));
        for (Index b = 0; b < extractor_.blocks(); ++b)
          if (found == places.end() || !found->second.contains(b)) committed_[at(b)] = 0;
        if (found == places.end()) continue;
        for (const auto& [block, place] : found->second) run = std::max(run, run_of_segment(place.file) + 1);
      }
    });
    comm::broadcast_bytes(comm_, committed_.data(), static_cast<Index>(committed_.size()));
    comm::broadcast_bytes(comm_, &run, sizeof run);
    comm::agree(comm_, [&] {
      segments_ = std::make_unique<io::SegmentWriter>(
          io::SegmentSettings{segments_folder(), fmt::format("{:04}-{:05}", run, comm_.rank()), options_.dtype, extractor_.config().hidden,
                              options_.compress, options_.commit_seconds, queue_bytes(), std::max(1, at::get_num_threads())},
          extractor_.pool());
    });
  }

  /// Makes the rows of all segments appear in the file; in a copy first, since a kill amid HDF5's changes leaves a wreck.
  void show_segments() const {
    const auto places = io::read_segments(segments_folder());
    const std::filesystem::path copy = output_.partial().string() + ".copy";
    std::filesystem::copy_file(output_.partial(), copy, std::filesystem::copy_options::overwrite_existing);
    auto file = io::File::open(copy, io::File::Mode::write);
    const auto& offsets = extractor_.block_offsets();
    const std::string folder = segments_folder().filename().string() + "/";
    for (const int layer : extractor_.layers()) {
      const std::string group = "/" + layer_name(layer);
      if (file.has(group)) continue; // a run that ended behind this point made it
      std::vector<io::VirtualPiece> pieces;
      std::vector<std::int64_t> checksums;
      for (const auto& [block, place] : places.at(group)) {
        const bool fits = block >= 0 && block < extractor_.blocks() && extractor_.block_rows(block) <= place.rows - place.begin;
        require(fits, ExitCode::bad_data, "{} holds no block {} of the file; remove the folder {}", place.file, block, folder);
        pieces.push_back(
            {offsets[at(block)], offsets[at(block + 1)] - offsets[at(block)], folder + place.file, group + "/x", place.begin, place.rows});
        checksums.push_back(place.checksum);
      }
      file.create_virtual_dataset(group + "/x", {offsets.back(), extractor_.config().hidden}, options_.dtype, pieces);
      file.write(group + "/checksums", checksums);
    }
    file.close();
    sync_path(copy);
    std::filesystem::rename(copy, output_.partial());
  }

  const comm::Communicator& comm_;
  Extractor& extractor_;
  const ExtractOptions& options_;
  io::Output output_;
  std::unique_ptr<io::RowWriter> writer_;
  std::unique_ptr<io::SegmentWriter> segments_; ///< where rows are compressed
  std::map<int, Place> places_;
  Place loss_;
  std::vector<std::uint8_t> committed_;
};

/// Mean cross-entropy of a finished file.
double mean_loss(const std::filesystem::path& path) {
  const auto sums = io::File::open(path).read<double>("/loss/sums", {-1, 2});
  double loss = 0;
  double count = 0;
  for (std::size_t i = 0; i < sums.size(); i += 2) {
    loss += sums[i];
    count += sums[i + 1];
  }
  return loss / count;
}

void report(const comm::Communicator& comm, const Extractor& extractor, const ExtractOptions& options, Index rows, double running,
            double wall) {
  std::string details =
      fmt::format("tokens={} layers={} tokens/s={:.0f} planned={} peak={}{}", extractor.tokens().count(), extractor.layers().size(),
                  static_cast<double>(rows) / std::max(running, 1e-9), human_bytes(comm::max_of(comm, extractor.memory().total())),
                  human_bytes(comm::max_of(comm, peak_memory())), extractor.gpu_memory());
  if (options.loss) details += fmt::format(" loss={:.6f}", comm::agreed(comm, [&] { return mean_loss(options.out); }));
  say_stage_ok(options.stage_word, wall, details, options.out.string());
}

} // namespace

void extract(const comm::Communicator& comm, const ExtractOptions& options) {
  const Progress clock("", 0, "");
  Extractor extractor(comm, options);
  const auto claim = io::claim_unless_done(comm, options.out, extractor.key(), options.force);
  if (!claim) {
    log_info("{}: {} is done", options.stage_word, options.out.string());
    return;
  }
  extractor.load_model();
  const double loaded = clock.seconds();
  ActivationsFile file(comm, extractor, options);
  const auto blocks = file.missing();
  Index todo = 0;
  for (const Index b : blocks) todo += extractor.block_rows(b);
  Index done = extractor.tokens().count() - todo;
  if (done > 0) log_info("{}: {} of {} tokens are there already", options.stage_word, done, extractor.tokens().count());
  Progress progress(options.stage_word, extractor.tokens().count(), "tokens", done);
  const Taker taker{[&](int layer, Index block, io::RowBuffer rows) { file.take(layer, block, std::move(rows)); },
                    [&](Index block, double sum, double count) { file.take_loss(block, sum, count); }};
  if (extractor.run(blocks, taker, /*stoppable=*/true, [&](Index rows) { progress.update(done += rows); })) {
    file.commit();
    comm::throw_stopped(options.stage_word.c_str());
  }
  file.finish();
  report(comm, extractor, options, todo, clock.seconds() - loaded, clock.seconds());
}

std::vector<int> parse_layers(const std::string& text) {
  std::vector<int> layers;
  if (text == "all") return layers;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    std::size_t used = 0;
    int layer = 0;
    try {
      layer = std::stoi(word, &used);
    } catch (const std::exception&) {
      used = std::string::npos;
    }
    require(used == word.size(), ExitCode::usage, "'{}' is no list of layers; write all, or numbers such as 0,3,5", text);
    layers.push_back(layer);
    begin = end + 1;
  }
  return layers;
}

} // namespace concord::extract
