"""Every attack. A new one is a function in a file of its subject and a line here."""

from __future__ import annotations

from attack import (
    benchmarks,
    bombs,
    checkpoints,
    configurations,
    data_files,
    environments,
    lists,
    resume,
    settings,
    tokens,
    transcripts,
    words,
    writers,
)
from attack.base import Attack
from support.broken_benchmarks import FAULTS

ATTACKS: tuple[Attack, ...] = (
    Attack("checkpoints: mutated", checkpoints.mutated, 2500, 20),
    Attack("checkpoints: code and files to destroy", checkpoints.runs_code, 800, 20),
    Attack("models: code of their own", checkpoints.model_runs_code, 200, 10),
    Attack("configurations: mutated", configurations.settings, 1500, 20),
    Attack("configurations: matrices", configurations.matrices, 800, 20),
    Attack("configurations: overrides", configurations.overrides, 400, 20),
    Attack("games: mutated", data_files.games, 1600, 40),
    Attack("games: the official layout", data_files.trees, 300, 20),
    Attack("levels: mutated", data_files.levels, 900, 40),
    Attack("products: mutated", data_files.products, 700, 20),
    Attack("priors: mutated", data_files.priors, 300, 20),
    Attack("transcripts: reports", transcripts.reports, 1000, 20),
    Attack("transcripts: tables of a benchmark", transcripts.tables, 150, 4),
    Attack("transcripts: reruns", transcripts.reruns, 500, 20),
    Attack("bombs", bombs.bombs, len(bombs.BOMBS), 19),
    Attack("terminal: escape sequences", words.escapes, 500, 20),
    Attack("keys", words.keys, 60, 12),
    Attack("two writers of one run", writers.two, 10, 1, limit_s=240.0),
    Attack("resume: killed up to five times, continued", resume.killed_and_resumed, tries=6, sample=1, limit_s=900),
    Attack("tokens: control strings in texts from outside", tokens.role_forged, tries=2000, sample=28),
    Attack("tokens: role strings in demonstrated actions", tokens.reply_forged, tries=700, sample=14),
    Attack("environments: misbehave in this process", environments.here, tries=104, sample=52, limit_s=10),
    Attack("environments: misbehave in two workers", environments.in_workers, tries=110, sample=5, limit_s=30),
    Attack("environments: misbehave in rollout workers", environments.in_rollout_workers, 52, sample=1, limit_s=120),
    Attack("environments: the parent of workers is killed", environments.parent_killed, 12, sample=1, limit_s=180),
    Attack("environments: all of a command's episodes fail", environments.all_fails, tries=4, sample=1, limit_s=120),
    Attack("lists: chores paid twice or out of turn", lists.chores_pay_once_and_in_turn, tries=2000, sample=4),
    Attack("lists: purchases paid twice or out of turn", lists.purchases_pay_once_and_in_turn, tries=600, sample=4),
    Attack("settings: wrong values, commands, models, environments", settings.refused, len(settings.CASES), 4),
    Attack("settings: simple mistakes answered without torch", settings.quick, len(settings.QUICK), 2),
    Attack("settings: another method over a file", settings.other_method, tries=30, sample=30),
    Attack("settings: weights that are not finite", settings.diverged, tries=14, sample=3, limit_s=240),
    Attack("settings: a second evaluation into one directory", settings.second_evaluation, tries=3, sample=1),
    Attack("settings: a full disk while a checkpoint is written", settings.full_disk, tries=14, sample=1, limit_s=240),
    Attack("settings: a demonstrator that raises", settings.raising_demonstrator, tries=4, sample=1),
    Attack("benchmarks: one fault each", benchmarks.fault, len(FAULTS), len(FAULTS)),
    Attack("benchmarks: without a fault", benchmarks.sound, tries=3, sample=1),
)
"""Runs in the order of the table."""
