# SPDX-License-Identifier: Apache-2.0
"""Published protocols on data sets: `longtake evaluate DATASET FOLDER`. Import from the modules.

protocol   everything that changes a number       results    one JSON a sequence, so that a run goes on
walk       a model along one sequence             gather     sequences in one row, tables
gathered   what is kept of the frames             plot       error against length
path_score, depth_score, cloud_score: figures     portraits  two clouds from one camera
published  the figures of the papers              report     the page and its Markdown
"""
