#include "concord/cost/phase.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace concord::cost {

namespace {

/// Stages of a collective call over so many ranks of a group.
double latency_of(const Machine& machine, double ranks, double on_node) {
  const auto stages = [](double n) { return n > 1 ? std::ceil(std::log2(n)) : 0.0; };
  const double here = std::min(ranks, on_node);
  return stages(here) * machine.within.latency + stages(std::ceil(ranks / here)) * machine.between.latency;
}

/// The time of one unit, apart from its files.
struct UnitTime {
  double even = 0; ///< its shared work, over all ranks of the group alike
  double uneven = 0;
  double memory = 0;
  double alone = 0;
  double latency = 0;
  double bandwidth = 0;
  double total() const { return even + uneven + memory + alone + latency + bandwidth; }
};

UnitTime unit_time(const Phase& phase, const Machine& machine, const Layout& layout) {
  UnitTime t;
  const int busy = std::min(layout.on_node, machine.ranks_a_node);
  for (const Amount& amount : phase.shared) {
    const double seconds = amount.units / machine.rate(amount.work, amount.size, busy, phase.on_gpu);
    t.even += seconds / phase.ranks;
    t.uneven += seconds / phase.ranks * (amount.busiest - 1);
  }
  for (const Amount& amount : phase.alone) t.alone += amount.units / machine.rate(amount.work, amount.size, busy, phase.on_gpu);
  const double of_rank = phase.on_gpu ? machine.gpu_memory : machine.memory / layout.on_node;
  t.memory = std::max(0.0, phase.memory_bytes / phase.ranks / of_rank - t.even - t.uneven);
  if (phase.ranks <= 1) return t;
  t.latency = phase.calls * latency_of(machine, phase.ranks, layout.on_node) +
              phase.messages * (phase.ranks > layout.on_node ? machine.between.latency : machine.within.latency);
  t.bandwidth = phase.bytes_within / machine.within.bandwidth + phase.bytes_between / machine.between.bandwidth;
  return t;
}

double file_seconds(double bytes, const FileRates& rates, const Layout& layout) {
  return bytes / std::min({rates.rank * layout.ranks, rates.node * layout.nodes(), rates.all});
}

} // namespace

Parts operator+(const Parts& a, const Parts& b) {
  return {a.work + b.work,       a.memory + b.memory,       a.alone + b.alone, a.imbalance + b.imbalance,
          a.latency + b.latency, a.bandwidth + b.bandwidth, a.files + b.files};
}

Parts time_of(const Phase& phase, const Machine& machine, const Layout& layout) {
  const UnitTime unit = unit_time(phase, machine, layout);
  const double rounds = phase.times * std::ceil(phase.units / phase.groups); // of the busiest group
  Parts parts;
  parts.work = phase.times * phase.units * unit.even * phase.ranks / layout.ranks;
  parts.imbalance = rounds * (unit.even + unit.uneven) - parts.work;
  parts.memory = rounds * unit.memory;
  parts.alone = rounds * unit.alone;
  parts.latency = rounds * unit.latency;
  parts.bandwidth = rounds * unit.bandwidth;
  const double files =
      phase.times * (file_seconds(phase.read, machine.reads, layout) + file_seconds(phase.written, machine.writes, layout));
  parts.files = phase.files_beside ? std::max(0.0, files - parts.total()) : files;
  return parts;
}

Prediction predict(const std::vector<Phase>& phases, const Machine& machine, const Layout& layout) {
  Prediction all;
  std::map<std::string, double> reasons;
  const int busy = std::min(layout.on_node, machine.ranks_a_node);
  for (const Phase& phase : phases) {
    const Parts parts = time_of(phase, machine, layout);
    all.parts = all.parts + parts;
    double seconds = 0;
    for (const Amount& amount : phase.shared) seconds += amount.units / machine.rate(amount.work, amount.size, busy, phase.on_gpu);
    for (const Amount& amount : phase.shared)
      if (seconds > 0)
        reasons[std::string("arithmetic (") + word_of(amount.work) + ")"] +=
            parts.work * amount.units / machine.rate(amount.work, amount.size, busy, phase.on_gpu) / seconds;
  }
  reasons["memory"] = all.parts.memory;
  reasons["not shared"] = all.parts.alone;
  reasons["imbalance"] = all.parts.imbalance;
  reasons["latency"] = all.parts.latency;
  reasons["bandwidth"] = all.parts.bandwidth;
  reasons["files"] = all.parts.files;
  const auto most = std::max_element(reasons.begin(), reasons.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->second > 0) all.limit = most->first;
  return all;
}

double amount_of(const std::vector<Phase>& phases, Work work) {
  double sum = 0;
  for (const Phase& phase : phases)
    for (const auto* amounts : {&phase.shared, &phase.alone})
      for (const Amount& amount : *amounts)
        if (amount.work == work) sum += phase.times * phase.units * amount.units;
  return sum;
}

Traffic traffic_of(const std::vector<Phase>& phases, const Layout& layout) {
  Traffic all;
  for (const Phase& phase : phases) {
    all.read += phase.times * phase.read;
    all.written += phase.times * phase.written;
    if (phase.ranks <= 1) continue;
    const double nodes = std::ceil(phase.ranks / layout.on_node);
    all.calls += phase.times * phase.units / phase.groups * phase.calls;
    all.received += phase.times * phase.units * (phase.bytes_within * phase.ranks + phase.bytes_between * (nodes > 1 ? nodes : 0));
  }
  return all;
}

} // namespace concord::cost
