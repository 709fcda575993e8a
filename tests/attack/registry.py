"""Every attack. A new one is a function in a file of its subject and a line here."""

from __future__ import annotations

from attack import tokens
from attack.base import Attack

ATTACKS: tuple[Attack, ...] = (
    Attack("tokens: control strings in texts from outside", tokens.role_forged, tries=2000, sample=100),
    Attack("tokens: role strings in demonstrated actions", tokens.reply_forged, tries=700, sample=70),
)
