#pragma once
/// Shares of layers that are kept for the next pairs. Local.

#include "correlate/features/moments.hpp"
#include <list>
#include <memory>
#include <utility>

namespace concord::correlate {

/// What is kept of a layer for the next pairs, within a limit of bytes; what was not used for longest goes first.
template <typename ShareType>
class Kept {
public:
  std::shared_ptr<const ShareType> find(int layer) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (entry->first == layer) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entries_.front().second;
      }
    return nullptr;
  }
  void keep(int layer, std::shared_ptr<const ShareType> share) { entries_.emplace_front(layer, std::move(share)); }
  void clear() { entries_.clear(); }
  double bytes() const {
    double sum = 0;
    for (const auto& entry : entries_) sum += entry.second->share.held;
    return sum;
  }
  /// Of those that nobody else holds. False where there is none.
  bool drop_oldest() {
    for (auto entry = entries_.end(); entry != entries_.begin();)
      if ((--entry)->second.use_count() == 1) {
        entries_.erase(entry);
        return true;
      }
    return false;
  }

private:
  std::list<std::pair<int, std::shared_ptr<const ShareType>>> entries_;
};

} // namespace concord::correlate
