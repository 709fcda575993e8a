"""Every attack. A new one is a function in a file of its subject and a line here."""

from __future__ import annotations

from attack import (
    bombs,
    checkpoints,
    configurations,
    data_files,
    environments,
    lists,
    resume,
    tokens,
    transcripts,
    words,
    writers,
)
from attack.base import Attack

ATTACKS: tuple[Attack, ...] = (
    Attack("checkpoints: mutated", checkpoints.mutated, 2500, 40),
    Attack("checkpoints: code and files to destroy", checkpoints.runs_code, 800, 40),
    Attack("models: code of their own", checkpoints.model_runs_code, 200, 10),
    Attack("configurations: mutated", configurations.settings, 1500, 40),
    Attack("configurations: matrices", configurations.matrices, 800, 30),
    Attack("configurations: overrides", configurations.overrides, 400, 40),
    Attack("games: mutated", data_files.games, 1600, 40),
    Attack("games: the official layout", data_files.trees, 300, 20),
    Attack("levels: mutated", data_files.levels, 900, 40),
    Attack("products: mutated", data_files.products, 700, 20),
    Attack("priors: mutated", data_files.priors, 300, 40),
    Attack("transcripts: reports", transcripts.reports, 1000, 30),
    Attack("transcripts: tables of a benchmark", transcripts.tables, 150, 4),
    Attack("transcripts: reruns", transcripts.reruns, 500, 20),
    Attack("bombs", bombs.bombs, len(bombs.BOMBS), 19),
    Attack("terminal: escape sequences", words.escapes, 500, 40),
    Attack("keys", words.keys, 60, 12),
    Attack("two writers of one run", writers.two, 10, 1, limit_s=240.0),
    Attack("resume: killed up to five times, continued", resume.killed_and_resumed, tries=20, sample=1, limit_s=900),
    Attack("tokens: control strings in texts from outside", tokens.role_forged, tries=2000, sample=28),
    Attack("tokens: role strings in demonstrated actions", tokens.reply_forged, tries=700, sample=14),
    Attack("environments: misbehave in this process", environments.here, tries=104, sample=52, limit_s=10),
    Attack("environments: misbehave in two workers", environments.in_workers, tries=110, sample=5, limit_s=30),
    Attack("environments: misbehave in rollout workers", environments.in_rollout_workers, 52, sample=1, limit_s=120),
    Attack("environments: the parent of workers is killed", environments.parent_killed, 12, sample=1, limit_s=180),
    Attack("environments: all of a command's episodes fail", environments.all_fails, tries=4, sample=1, limit_s=120),
    Attack("lists: chores paid twice or out of turn", lists.chores_pay_once_and_in_turn, tries=2000, sample=4),
    Attack("lists: purchases paid twice or out of turn", lists.purchases_pay_once_and_in_turn, tries=600, sample=4),
)
"""Runs in the order of the table."""
