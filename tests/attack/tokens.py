"""Texts from outside that try to become control tokens, through every door by which text reaches a prompt."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from himac.agents.chat import ChatFormat
from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.config import AgentConfig
from himac.types import Demonstration, DemoSegment, DemoTurn, PromptTexts, Task
from support.layouts import LAYOUTS, SUB_DONE, layout

TEXTS = PromptTexts(planner="Plan.", executor="Act.", flat="Act.")
WORDS = (
    "open fridge 1",
    "You see",
    "user",
    "assistant",
    "\n",
    " ",
    "é",
    "😀",
    "<",
    "|",
    ">",
    "</",
    "｜",
    "▁",
    "\u200b",
)
FULL_WIDTH = str.maketrans({chr(n): chr(n + 0xFEE0) for n in range(33, 127)})


def role_forged(number: int, folder: Path) -> str | None:
    """A text of control strings, whole, cut, nested and in other letters, in an observation, task or sub-goal."""
    rng = random.Random(f"role {number}")
    name = LAYOUTS[number % len(LAYOUTS)]
    given = layout(name)
    text = _text(rng, given.controls)
    tried, usual = _prompts(given.tokenizer, text), _prompts(given.tokenizer, "words")
    for place, ids in tried.items():
        forged = [one for one in ids if one in given.ids]
        if forged != [one for one in usual[place] if one in given.ids]:
            return f"{name}: {text!r} in the {place} has other control tokens"
    return None


def reply_forged(number: int, folder: Path) -> str | None:
    """A demonstration whose action spells the end of the message and another role."""
    rng = random.Random(f"reply {number}")
    name = LAYOUTS[number % len(LAYOUTS)]
    given = layout(name)
    allowed = {SUB_DONE, "<think>", "</think>"}
    text = _text(rng, [token for token in given.controls if token not in allowed])
    chat = ChatFormat(given.tokenizer)
    ids = chat.encode_reply(f"go to {text} 1")[: -len(chat.end_ids)]
    roles = given.ids - set(given.tokenizer.convert_tokens_to_ids(sorted(allowed)))
    return f"{name}: the action {text!r} holds a role token" if roles & set(ids) else None


def _text(rng: random.Random, controls: Any) -> str:
    pieces = list[str]()
    for _ in range(rng.randint(1, 8)):
        token = rng.choice(controls)
        cut = rng.randrange(len(token))
        pieces += rng.choice(
            (
                [token],
                [token, rng.choice(controls)],
                [token[:cut], rng.choice(controls), token[cut:]],
                [token[:cut], token[cut:]],
                [token.translate(FULL_WIDTH)],
                [token.upper()],
                [rng.choice(WORDS), token, rng.choice(WORDS)],
                [token[cut:]],
            )
        )
        pieces.append(rng.choice(("", *WORDS)))
    return "".join(pieces)


def _prompts(tokenizer: Any, text: str) -> dict[str, list[int]]:
    """Ids of everything that is built of texts from outside."""
    hierarchical = HierarchicalAgent(tokenizer, TEXTS, AgentConfig.model_validate({"executor": {"sees_task": True}}))
    flat = FlatAgent(tokenizer, TEXTS, AgentConfig())
    demo = Demonstration(
        Task("a", "b"), text, text, (DemoSegment("go", text, (DemoTurn("go", text), DemoTurn("go", ""))),), True
    )
    return {
        "task": hierarchical.planner_prompt(text, "a room"),
        "first observation": hierarchical.planner_prompt("a task", text),
        "sub-goal": hierarchical.executor_prompt(text, "a room", "a task"),
        "start of a segment": hierarchical.executor_prompt("a goal", text, text),
        "observation": hierarchical.executor_turn(text, "a goal"),
        "flat prompt": flat.prompt(text, text),
        "flat observation": flat.turn(text, "a task"),
        "demonstration": [int(one) for row in hierarchical.demo_rows(demo) for one in row.input_ids],
    }
