#pragma once
/// Orthogonal Procrustes similarity of two spaces with matched rows: how well a rotation takes one onto the other. Local.
///
///   procrustes = ||X^T Y||_* / (||X||_F ||Y||_F), X and Y centred, in [0, 1]; 1: the same up to rotation and scale.
///   Distances that others report (Ding et al. 2021; Williams et al. 2021): sqrt(2 - 2 procrustes) and arccos(procrustes).

#include <vector>

namespace concord::similarity {

/// `nuclear`: singular values of X^T Y; `squares_x`, `squares_y`: ||X||_F^2, ||Y||_F^2.
double procrustes(const std::vector<double>& nuclear, double squares_x, double squares_y);
/// sqrt(2 - 2 s), of the spaces scaled to norm 1.
double procrustes_distance(double similarity);
/// arccos(s): a metric.
double procrustes_angle(double similarity);

} // namespace concord::similarity
