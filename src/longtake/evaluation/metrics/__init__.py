# SPDX-License-Identifier: Apache-2.0
"""The published measures as pure functions on numpy arrays in float64. Import from the modules.

association      which predicted pose belongs to which true one
trajectory       ATE and RPE under each alignment                 cloud_alignment  shift, scale and crop of clouds
cubic            the resize that video depth is compared through  icp              rigid, point to point
depth_published  the solvers of the published tables              normals          from the nearest points
depth_exact      the true optima of what those approximate        cloud_errors     accuracy, completeness, F-score
depth_errors     AbsRel, RMSE, delta
"""
