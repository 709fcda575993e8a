"""Every attack. A new one is a function in a file of its subject and a line here."""

from __future__ import annotations

from attack import benchmarks, settings
from attack.base import Attack
from support.broken_benchmarks import FAULTS

ATTACKS: tuple[Attack, ...] = (
    Attack("settings: wrong values, commands, models, environments", settings.refused, len(settings.CASES), 4),
    Attack("settings: simple mistakes answered without torch", settings.quick, len(settings.QUICK), 2),
    Attack("settings: another method over a file", settings.other_method, tries=30, sample=30),
    Attack("settings: weights that are not finite", settings.diverged, tries=14, sample=3),
    Attack("settings: a second evaluation into one directory", settings.second_evaluation, tries=3, sample=1),
    Attack("settings: a full disk while a checkpoint is written", settings.full_disk, tries=14, sample=1),
    Attack("settings: a demonstrator that raises", settings.raising_demonstrator, tries=4, sample=1),
    Attack("benchmarks: one fault each", benchmarks.fault, len(FAULTS), len(FAULTS)),
    Attack("benchmarks: without a fault", benchmarks.sound, tries=3, sample=1),
)
