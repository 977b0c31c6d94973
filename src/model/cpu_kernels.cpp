#include "model/cpu_kernels.hpp"

#include <ATen/Parallel.h>
#include <algorithm>
#include <bit>
#include <cmath>

// NOLINTNEXTLINE(readability-identifier-naming): Fortran's name
extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k, const float* alpha,
                       const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace concord::model::cpu {
namespace {

inline float widen(float x) {
  return x;
}
inline float widen(Bf16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}
inline void narrow(float x, float& out) {
  out = x;
}
inline void narrow(float x, Bf16& out) { // to nearest, ties to even
  const auto bits = std::bit_cast<std::uint32_t>(x);
  out.bits = static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// tanh to a few units in the last place: an odd rational function on [-7.9, 7.9], +-1 to f32 beyond.
/// Coefficients: Eigen's generic_fast_tanh_float.
inline float fast_tanh(float value) {
  const float x = std::min(std::max(value, -7.90531110763549805F), 7.90531110763549805F);
  const float x2 = x * x;
  float p = -2.76076847742355e-16F;
  p = p * x2 + 2.00018790482477e-13F;
  p = p * x2 - 8.60467152213735e-11F;
  p = p * x2 + 5.12229709037114e-08F;
  p = p * x2 + 1.48572235717979e-05F;
  p = p * x2 + 6.37261928875436e-04F;
  p = p * x2 + 4.89352455891786e-03F;
  float q = 1.19825839466702e-06F;
  q = q * x2 + 1.18534705686654e-04F;
  q = q * x2 + 2.26843463243900e-03F;
  q = q * x2 + 4.89352518554385e-03F;
  return x * p / q;
}

/// exp to 2 units in the last place, 0 below -87. Coefficients: Cephes expf.
inline float fast_exp(float value) {
  const float x = std::min(std::max(value, -87.0F), 88.0F);
  const float n = std::nearbyint(x * 1.44269504088896341F);
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float y = p * r * r + r + 1.0F;
  const auto scale = std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23);
  return value < -87.0F ? 0.0F : y * scale;
}

template <typename T>
float inverse_rms(const T* x, Index d, float eps) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < d; ++i) sum += widen(x[i]) * widen(x[i]);
  return 1.0F / std::sqrt(sum / static_cast<float>(d) + eps);
}

/// Rows that make a piece of work worth a thread.
Index grain(Index d) {
  return std::max<Index>(1, 16384 / d);
}

} // namespace

template <typename T>
void rms_norm(const T* x, const float* weight, Index rows, Index d, float eps, T* out) {
  at::parallel_for(0, rows, grain(d), [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const float scale = inverse_rms(x + r * d, d, eps);
#pragma omp simd
      for (Index i = 0; i < d; ++i) narrow(widen(x[r * d + i]) * scale * weight[i], out[r * d + i]);
    }
  });
}

template <typename T>
void add(T* residual, const T* x, Index count) {
  at::parallel_for(0, count, 16384, [&](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; ++i) narrow(widen(residual[i]) + widen(x[i]), residual[i]);
  });
}

template <typename T>
void add_normed(T* residual, const T* x, const float* weight, Index rows, Index d, float eps) {
  at::parallel_for(0, rows, grain(d), [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const float scale = inverse_rms(x + r * d, d, eps);
#pragma omp simd
      for (Index i = 0; i < d; ++i) narrow(widen(residual[r * d + i]) + widen(x[r * d + i]) * scale * weight[i], residual[r * d + i]);
    }
  });
}

template <typename T>
void rms_norm_columns(T* x, const float* weight, Index rows, Index stride, Index count, Index width, float eps) {
  at::parallel_for(0, rows, grain(count * width), [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      for (Index v = 0; v < count; ++v) {
        T* vector = x + r * stride + v * width;
        const float scale = inverse_rms(vector, width, eps);
#pragma omp simd
        for (Index i = 0; i < width; ++i) narrow(widen(vector[i]) * scale * weight[i], vector[i]);
      }
  });
}

namespace {

constexpr Index query_tile = 32;

/// What one thread needs for one tile of queries against their keys.
struct Scratch {
  std::vector<float> keys, values, queries, scores, mixed;
  static float* sized(std::vector<float>& buffer, Index count) {
    if (static_cast<Index>(buffer.size()) < count) buffer.resize(static_cast<std::size_t>(count));
    return buffer.data();
  }
};

/// Rotates the pairs of one head of one row: (a, b) -> (a cos - b sin, b cos + a sin). All its columns times `scale`.
template <typename T>
void rotate(const T* head, Index columns, const float* cosine, const float* sine, Index pairs, float scale, float* out) {
#pragma omp simd
  for (Index i = 0; i < pairs; ++i) {
    const float a = widen(head[i]);
    const float b = widen(head[pairs + i]);
    out[i] = (a * cosine[i] - b * sine[i]) * scale;
    out[pairs + i] = (b * cosine[i] + a * sine[i]) * scale;
  }
  for (Index i = 2 * pairs; i < columns; ++i) out[i] = widen(head[i]) * scale;
}

/// Turns scores[begin, end) into exp(score - a common number) and returns their sum.
float exponentials(float* scores, Index begin, Index end, float softcap) {
  float sum = 0;
  if (softcap > 0 && softcap < 64) { // scores lie in [-softcap, softcap]: exp() is safe as it is
#pragma omp simd reduction(+ : sum)
    for (Index j = begin; j < end; ++j) {
      scores[j] = fast_exp(softcap * fast_tanh(scores[j]));
      sum += scores[j];
    }
    return sum;
  }
  float largest = -3.0e38F;
#pragma omp simd reduction(max : largest)
  for (Index j = begin; j < end; ++j) {
    scores[j] = softcap > 0 ? softcap * fast_tanh(scores[j]) : scores[j];
    largest = std::max(largest, scores[j]);
  }
#pragma omp simd reduction(+ : sum)
  for (Index j = begin; j < end; ++j) {
    scores[j] = fast_exp(scores[j] - largest);
    sum += scores[j];
  }
  return sum;
}

/// Scores of one query over its visible keys [begin, end) become probabilities; the others become 0.
void soft_max(float* scores, Index begin, Index end, Index keys, float softcap) {
  const float inverse = 1.0F / exponentials(scores, begin, end, softcap);
#pragma omp simd
  for (Index j = begin; j < end; ++j) scores[j] *= inverse;
  std::fill(scores, scores + begin, 0.0F);
  std::fill(scores + end, scores + keys, 0.0F);
}

/// Attention of the query heads that share one key head, in one context.
template <typename T>
class HeadGroup {
public:
  HeadGroup(const T* qkv, const Contexts& contexts, const AttentionSettings& s, Index context, Index kv_head, T* out)
      : s_(s), group_(s.heads / s.kv_heads), kv_head_(kv_head), width_((s.heads + 2 * s.kv_heads) * s.head_dim),
        pairs_(contexts.rotary[s.rope].pairs()),
        length_(contexts.offsets[static_cast<std::size_t>(context) + 1] - contexts.offsets[static_cast<std::size_t>(context)]),
        rows_(qkv + contexts.offsets[static_cast<std::size_t>(context)] * width_),
        out_(out + contexts.offsets[static_cast<std::size_t>(context)] * s.heads * s.head_dim),
        cosine_(contexts.rotary[s.rope].cosine.template data_ptr<float>()), sine_(contexts.rotary[s.rope].sine.template data_ptr<float>()) {
  }

  Index length() const { return length_; }

  /// Queries [begin, end), in tiles.
  void run(Index begin, Index end, Scratch& scratch) const {
    if (begin >= end) return;
    const Index first_key = first_visible(begin);
    const Index e = s_.head_dim;
    float* keys = Scratch::sized(scratch.keys, (end - first_key) * e);
    float* values = Scratch::sized(scratch.values, (end - first_key) * e);
    for (Index t = first_key; t < end; ++t) {
      const T* key = rows_ + t * width_ + (s_.heads + kv_head_) * e;
      const T* value = key + s_.kv_heads * e;
      rotate(key, e, cosine_ + t * pairs_, sine_ + t * pairs_, pairs_, 1.0F, keys + (t - first_key) * e);
#pragma omp simd
      for (Index i = 0; i < e; ++i) values[(t - first_key) * e + i] = widen(value[i]);
    }
    for (Index q = begin; q < end; q += query_tile) {
      const Index q_end = std::min(end, q + query_tile);
      const Index skip = first_visible(q) - first_key;
      tile(q, q_end, first_visible(q), keys + skip * e, values + skip * e, scratch);
    }
  }

private:
  Index first_visible(Index query) const {
    return s_.window > 0 ? std::max<Index>(0, query - s_.window + 1) : 0;
  }

  /// keys and values start at position first_key.
  void tile(Index begin, Index end, Index first_key, const float* keys, const float* values, Scratch& scratch) const {
    const Index e = s_.head_dim;
    const Index queries = group_ * (end - begin);
    const Index n_keys = end - first_key;
    const auto scale = static_cast<float>(s_.softcap > 0 ? s_.scale / s_.softcap : s_.scale);
    float* q = Scratch::sized(scratch.queries, queries * e);
    float* scores = Scratch::sized(scratch.scores, queries * n_keys);
    float* mixed = Scratch::sized(scratch.mixed, queries * e);
    for (Index h = 0; h < group_; ++h)
      for (Index t = begin; t < end; ++t)
        rotate(rows_ + t * width_ + (kv_head_ * group_ + h) * e, e, cosine_ + t * pairs_, sine_ + t * pairs_, pairs_, scale,
               q + (h * (end - begin) + t - begin) * e);
    product('T', n_keys, queries, e, keys, e, q, e, scores, n_keys);
    for (Index r = 0; r < queries; ++r) {
      const Index t = begin + r % (end - begin);
      soft_max(scores + r * n_keys, first_visible(t) - first_key, t + 1 - first_key, n_keys, static_cast<float>(s_.softcap));
    }
    product('N', e, queries, n_keys, values, e, scores, n_keys, mixed, e);
    for (Index h = 0; h < group_; ++h)
      for (Index t = begin; t < end; ++t) {
        const float* from = mixed + (h * (end - begin) + t - begin) * e;
        T* to = out_ + t * s_.heads * e + (kv_head_ * group_ + h) * e;
#pragma omp simd
        for (Index i = 0; i < e; ++i) narrow(from[i], to[i]);
      }
  }

  /// Column-major C[m, n] = op(A) B[k, n].
  static void product(char op, Index m, Index n, Index k, const float* a, Index lda, const float* b, Index ldb, float* c, Index ldc) {
    const int mi = static_cast<int>(m), ni = static_cast<int>(n), ki = static_cast<int>(k);
    const int la = static_cast<int>(lda), lb = static_cast<int>(ldb), lc = static_cast<int>(ldc);
    const float one = 1, zero = 0;
    sgemm_(&op, "N", &mi, &ni, &ki, &one, a, &la, b, &lb, &zero, c, &lc);
  }

  const AttentionSettings& s_;
  Index group_, kv_head_, width_, pairs_, length_;
  const T* rows_;
  T* out_;
  const float* cosine_;
  const float* sine_;
};

} // namespace

template <typename T>
void attend(const T* qkv, const Contexts& contexts, const AttentionSettings& settings, T* out) {
  // Long contexts are cut so that few of them still keep all threads busy; the cut depends on the length alone.
  const Index pieces = std::max<Index>(1, (contexts.longest + 1023) / 1024);
  const Index units = contexts.count() * settings.kv_heads * pieces;
  at::parallel_for(0, units, 1, [&](Index begin, Index end) {
    Scratch scratch;
    for (Index unit = begin; unit < end; ++unit) {
      const Index piece = unit % pieces;
      const HeadGroup<T> head(qkv, contexts, settings, unit / pieces / settings.kv_heads, unit / pieces % settings.kv_heads, out);
      head.run(std::min(head.length(), piece * 1024), std::min(head.length(), piece * 1024 + 1024), scratch);
    }
  });
}

double attend_scratch_bytes(const AttentionSettings& s, Index longest) {
  const Index keys = s.window > 0 ? std::min(longest, s.window + 1024) : longest;
  const Index queries = s.heads / s.kv_heads * std::min(query_tile, longest);
  return 4.0 * static_cast<double>(2 * keys * s.head_dim + queries * (keys + 2 * s.head_dim));
}

template void rms_norm(const float*, const float*, Index, Index, float, float*);
template void rms_norm(const Bf16*, const float*, Index, Index, float, Bf16*);
template void add(float*, const float*, Index);
template void add(Bf16*, const Bf16*, Index);
template void add_normed(float*, const float*, const float*, Index, Index, float);
template void add_normed(Bf16*, const Bf16*, const float*, Index, Index, float);
template void rms_norm_columns(float*, const float*, Index, Index, Index, Index, float);
template void rms_norm_columns(Bf16*, const float*, Index, Index, Index, Index, float);
template void attend(const float*, const Contexts&, const AttentionSettings&, float*);
template void attend(const Bf16*, const Contexts&, const AttentionSettings&, Bf16*);

} // namespace concord::model::cpu
