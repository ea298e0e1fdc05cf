# SPDX-License-Identifier: Apache-2.0
"""Measure a model against ground truth: depth, rotation, direction, path and focal length. Import from the modules.

folder     reads takes with truth from plain RGB-D folders     summary    many takes in one row
sets       finds the takes to measure together                 records    results on disk, so that a run can go on
figures    the figures of one take, pure numpy                 report     rows, settings and goals
sampling   reads predicted depth where truth is known          tables     for a terminal and for Markdown
run        a model over takes                                  pictures   prediction beside truth, for eyes
nets       the model and its untrained twin                    yardstick  the one command
"""
