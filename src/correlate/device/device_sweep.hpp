#pragma once
/// All sums of a pair of layers on a device, chunk after chunk of A's features, as this rank owns them. Collective over `comm`.

#include "correlate/device/device_pair.hpp"
#include "correlate/shares/row_pieces.hpp"
#include <functional>

namespace concord::correlate::device {

/// Bytes that a sweep may take.
struct SweepMemory {
  double host; ///< for pieces of rows that do not fit whole
  double rows; ///< on the device, likewise
  double sums; ///< on the device
};

class DeviceSweep : public PairSums {
public:
  /// @param column  the ranks of this rank's column, of which `sharing` surely share a node
  DeviceSweep(const comm::Communicator& comm, const comm::Communicator& column, int sharing, const ShareGrid& grid, const PairRows& rows,
              Device& device, KeptOnDevice& kept, const SweepMemory& memory);
  /// The sums of some features of A (places in the share) with all of B's share, for the numbered shift.
  using Visit = std::function<void(const PairView& pair, const std::vector<Index>& features, Index shift)>;
  /// For every feature of A, or those that `wanted` names, and every shift of B's rows. Collective.
  void run(const std::vector<Index>& shifts, const Visit& visit, const Wanted* wanted = nullptr);

  void find_best(const std::vector<Index>& shifts, Index best, Found& found) override;
  std::vector<double> find_largest(const std::vector<Index>& shifts, const std::vector<Wanted>& wanted) override;
  std::vector<Exceeding> find_exceeding(const std::vector<double>& limit_a, const std::vector<double>& limit_b,
                                        const Wanted& wanted) override;
  void for_each_sums(const std::function<void(Index feature, const Accumulator* sums)>& visit) override;

private:
  void take_moments();
  void run_whole(const std::vector<Index>& features, const std::vector<Index>& shifts, const Visit& visit);
  void sum_whole(const std::vector<Index>& features, const std::vector<Index>& shifts, const Visit& visit);
  /// As Sweep::run_pieces(), with the sums on the device.
  void run_pieces(const std::vector<Index>& features, const std::vector<Index>& shifts, const Visit& visit);
  Index rows_a_piece() const;
  void add_pieces(const Chunk& chunk, Index piece, const std::vector<Index>& shifts, RowPieces& pieces_of_b);
  Chunk chunk_of(const std::vector<Index>& features, std::size_t shifts);

  const comm::Communicator& column_;
  int sharing_;
  Device& device_;
  KeptOnDevice& kept_;
  SweepMemory memory_;
  Columns columns_;
  DeviceArray<Index> features_; ///< of the chunk at hand
};

} // namespace concord::correlate::device
