"""Every attack. A new one is a function in a file of its subject and a line here."""

from __future__ import annotations

from attack.base import Attack

ATTACKS: tuple[Attack, ...] = ()
