#pragma once
/// What a stage costs, phase by phase, and how long that takes on a machine. By arithmetic alone. Local.
///
/// A phase is a number of like units (layer pairs, SAEs, blocks of contexts). Groups of ranks take units side by side; the ranks of a group
/// share each. Time of a unit: the longer of what the busiest rank computes and what the node's memory moves, plus what one rank does while
/// others wait, plus messages (latency x stages of each call, bytes / bandwidth). Time of a phase: that of the units which the busiest
/// group takes, and its files, beside the units or behind them.

#include "concord/cost/machine.hpp"

namespace concord::cost {

/// Ranks of a job.
struct Layout {
  int ranks = 1;
  int on_node = 1; ///< on each node
  int nodes() const { return (ranks + on_node - 1) / on_node; }
};

struct Amount {
  Work work;
  double units = 0;   ///< in all
  double size = 0;    ///< of matrices, where the rate depends on it
  double busiest = 1; ///< what the busiest rank of a group does of it, over an even share
};

struct Phase {
  std::string name;
  double times = 1;                ///< that all units are done, one time behind the other
  double units = 1;                ///< done each time
  double groups = 1;               ///< side by side
  double ranks = 1;                ///< of a group
  std::vector<Amount> shared = {}; ///< of a unit, by the ranks of its group
  std::vector<Amount> alone = {};  ///< of a unit, by one rank for all, or by each rank anew
  double memory_bytes = 0;         ///< of a unit, through memory, by all ranks of its group
  double calls = 0;                ///< of MPI in a unit, each of which all ranks of the group wait for
  double messages = 0;             ///< of a unit, that a rank sends to single others
  double bytes_within = 0;         ///< that a rank gets from ranks of its node in a unit
  double bytes_between = 0;        ///< that a node gets from other nodes in a unit
  double read = 0;                 ///< bytes of files, of all units each time
  double written = 0;
  bool files_beside = false; ///< by a thread of their own, beside the work
  bool on_gpu = false;
};

/// Where the time of a phase or a stage goes. Seconds; they add up to the time.
struct Parts {
  double work = 0;      ///< arithmetic, if all ranks shared it evenly
  double memory = 0;    ///< waiting for memory beyond it
  double alone = 0;     ///< what is not shared
  double imbalance = 0; ///< units and pieces that do not divide by the ranks, and ranks without any
  double latency = 0;   ///< of messages
  double bandwidth = 0; ///< of messages
  double files = 0;     ///< that are not hidden behind the rest
  double total() const { return work + memory + alone + imbalance + latency + bandwidth + files; }
};
Parts operator+(const Parts& a, const Parts& b);

/// @param layout  at most machine.ranks_a_node ranks on a node
Parts time_of(const Phase& phase, const Machine& machine, const Layout& layout);

/// A stage's time.
struct Prediction {
  Parts parts;
  std::string limit; ///< what takes most of it: "arithmetic (screen_int8)", "memory", "not shared", "imbalance", ...
};
Prediction predict(const std::vector<Phase>& phases, const Machine& machine, const Layout& layout);

/// Of a kind of work, all its units in all phases.
double amount_of(const std::vector<Phase>& phases, Work work);

/// What a stage does beside arithmetic, in all.
struct Traffic {
  double read = 0; ///< bytes of files
  double written = 0;
  double calls = 0;    ///< of MPI that a rank makes, on average
  double received = 0; ///< bytes that all ranks get by messages, those between nodes once a node
};
Traffic traffic_of(const std::vector<Phase>& phases, const Layout& layout);

} // namespace concord::cost
