#include "concord/comm/session.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/dense.hpp"
#include "concord/similarity/rsa/rsa.hpp"

#include "cost/calibrate/probe.hpp"

namespace concord::cost {

namespace {

std::vector<double> some_numbers(Index count, std::uint64_t seed) {
  const auto values = some_normals(count, seed);
  return {values.begin(), values.end()};
}

Probe product_probe(Index rows, Index width, int times) {
  auto x = std::make_shared<std::vector<double>>(some_numbers(rows * width, 7));
  auto out = std::make_shared<std::vector<double>>(at(width * width));
  const double flops = 2.0 * static_cast<double>(times * rows * width * width);
  return {fmt::format("product in f64, width {}", width), {{Work::product_f64, flops, static_cast<double>(width)}}, [=] {
            for (int i = 0; i < times; ++i)
              linalg::transposed_product(linalg::view(*x, rows, width), linalg::view(*x, rows, width), out->data(), width);
          }};
}

Probe eigen_probe(Work work, Index n, int times) {
  const auto x = some_numbers(2 * n * n, 8);
  auto gram = std::make_shared<std::vector<double>>(linalg::gram(linalg::view(x, 2 * n, n)));
  const double cubes = static_cast<double>(times) * static_cast<double>(n * n * n);
  return {fmt::format("{}, n = {}", word_of(work), n), {{work, cubes, static_cast<double>(n)}}, [=] {
            for (int i = 0; i < times; ++i) {
              auto copy = *gram;
              if (work == Work::eigenvectors)
                linalg::symmetric_eigen(copy, n);
              else
                linalg::symmetric_eigenvalues(std::move(copy), n);
            }
          }};
}

/// Two spaces and their RDMs on this rank alone.
struct Spaces {
  static constexpr Index width = 64, kendall = 100000;
  comm::Communicator self{MPI_COMM_SELF, boost::mpi::comm_attach};
  similarity::Matrix x, y;
  std::vector<Index> order;
  std::unique_ptr<similarity::Rsa> rsa;

  explicit Spaces(Index rows)
      : x{rows, width, some_numbers(rows * width, 9)}, y{rows, width, some_numbers(rows * width, 10)},
        order(shuffled(rows, Philox(1, "calibrate order"))) {}
  double pairs() const { return static_cast<double>(x.rows * x.rows) / 2; }
  void compare(Index kendall_samples) {
    similarity::RsaOptions options;
    options.permute = true;
    options.neighbours = 10;
    options.kendall_samples = kendall_samples;
    options.threads = thread_count();
    rsa = std::make_unique<similarity::Rsa>(self, x, y, options);
  }
};

Probe rsa_probe(Index rows) {
  auto spaces = std::make_shared<Spaces>(rows);
  const double pairs = spaces->pairs(), width = static_cast<double>(Spaces::width);
  return {fmt::format("RSA of {} rows", rows),
          {{Work::product_f64, 4 * pairs * width, width}, {Work::dissimilarities, pairs, pairs}},
          [spaces] { spaces->compare(0); }};
}

std::vector<Probe> rsa_probes(double part) {
  auto spaces = std::make_shared<Spaces>(part_of(1024, part, 64));
  spaces->compare(Spaces::kendall);
  constexpr int shuffles = 8;
  return {rsa_probe(part_of(320, part, 64)),
          rsa_probe(part_of(1536, part, 96)),
          {"RSA, shuffled",
           {{Work::shuffled, shuffles * spaces->pairs()}},
           [spaces] {
             for (int i = 0; i < shuffles; ++i) spaces->rsa->spearman_of(spaces->order);
           }},
          {"Kendall's tau", {{Work::kendall, static_cast<double>(Spaces::kendall)}}, [spaces] { spaces->rsa->kendall_of(spaces->order); }}};
}

} // namespace

void add_compare_families(double part, std::vector<Family>& families) {
  const auto n = [part](Index size) { return part_of(size, part); };
  families.push_back({"products", {Work::product_f64}, [n] {
                        return std::vector<Probe>{product_probe(n(2048), n(128), 20), product_probe(n(1024), n(1024), 1),
                                                  product_probe(n(1024), n(2048), 1)};
                      }});
  families.push_back({"eigenvectors", {Work::eigenvectors}, [n] {
                        return std::vector<Probe>{eigen_probe(Work::eigenvectors, n(160), 6), eigen_probe(Work::eigenvectors, n(640), 1),
                                                  eigen_probe(Work::eigenvectors, n(2048), 1)};
                      }});
  families.push_back({"eigenvalues", {Work::eigenvalues}, [n] {
                        return std::vector<Probe>{eigen_probe(Work::eigenvalues, n(160), 10), eigen_probe(Work::eigenvalues, n(640), 1),
                                                  eigen_probe(Work::eigenvalues, n(2048), 1)};
                      }});
  families.push_back({"RSA", {Work::dissimilarities, Work::shuffled, Work::kendall}, [part] { return rsa_probes(part); }});
}

} // namespace concord::cost
