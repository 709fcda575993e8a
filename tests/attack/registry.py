"""Every attack. A new one is a function in a file of its subject and a line here."""

from __future__ import annotations

from attack import (
    environments,
    lists,
    resume,
    tokens,
)
from attack.base import Attack

ATTACKS: tuple[Attack, ...] = (
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
