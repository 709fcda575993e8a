"""Prompts of planner and executor, token for token, and training rows drawn beside their masks."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any

import pytest
from transformers import AutoTokenizer

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent, short_form
from himac.agents.hiper import HiperAgent
from himac.config import AgentConfig, Config
from himac.config_file import load_config
from himac.envs.base import SHORT_TEXTS, Benchmark
from himac.models.init_model import init_model
from himac.rollout.runtime import build_benchmark
from himac.types import Blueprint, Demonstration, DemoSegment, DemoTurn, PromptTexts, Row, Task

BUILTIN = {"alfworld": "builtin:small", "sokoban": "builtin:short", "webshop": "builtin"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As `himac init-model` makes it; its four control tokens stay visible when decoded."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    init_model(
        folder,
        ["Task: put a mug in desk\nGoal: take mug"],
        vocab_size=340,
        hidden_size=8,
        layers=1,
        heads=1,
        kv_heads=1,
    )
    return AutoTokenizer.from_pretrained(folder)


Spelled = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def spelled(tokenizer: Any) -> Spelled:
    """A text as token ids; each control token that is written out is one token."""

    def spell(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    for control in ("<|user|>", "<|assistant|>", "<|im_end|>", "<sub_done>"):
        assert len(spell(control)) == 1
    return spell


@dataclass(frozen=True)
class Asked:
    """What a benchmark's task shows, and what the model must be told.

    Attributes:
        action: Taken before `follow` is asked.
    """

    config: str
    task: str
    planner: str
    subgoal: str
    executor: str
    action: str
    follow: str


def setting(asked: Asked) -> tuple[Config, Benchmark, Task]:
    """A shipped configuration, with the built-in tasks where it names the official ones."""
    name = asked.config.split("/")[0]
    path = str(files("himac") / "configs" / asked.config)
    config = load_config(path, [f"env.kwargs.data={BUILTIN[name]}", "env.train_split=train", "env.eval_split=train"])
    benchmark = build_benchmark(config)
    return config, benchmark, next(task for task in benchmark.tasks("train") if task.id.endswith(asked.task))


# One task of each built-in benchmark, in the short view for small models and with the full rules. Written out by hand:
# the view's text of the first observation, `Task:`, `Goal:`, and after an action the observation with its reminder.

HOUSE = "room: bed 1, desk 1, drawer 1, dresser 1, laundryhamper 1, shelf 3"
BOARD = "target 11, wall 31 32 41 42, player 23, box 33, move up left right, push down"
WISH = (
    "Find me space saving, engineered wood, high density bar stools with color: light grey, and size: 18 inch, and "
    "price "
    "lower than 290.00 dollars"
)
SHORT = [
    Asked(
        "alfworld/demo.yaml",
        "train-small-00661",
        f"<|user|>{HOUSE}\nTask: examine the alarmclock with the desklamp<|assistant|>",
        "take alarmclock (look in desk, dresser)",
        f"<|user|>{HOUSE}\nGoal: take alarmclock (look in desk, dresser)<|assistant|>",
        "go to desk 1",
        "<|user|>desk 1: alarmclock 2, basketball 1, creditcard 1, desklamp 1, laptop 1\nGoal: take "
        "alarmclock<|assistant|>",
    ),
    Asked(
        "sokoban/tiny-text.yaml",
        "short-train-0005",
        f"<|user|>{BOARD}\nTask: push the box onto the target<|assistant|>",
        "push box 33 up to 13",
        f"<|user|>{BOARD}\nGoal: push box 33 up to 13<|assistant|>",
        "right",
        "<|user|>player 24, box 33, move up down left, push none\nGoal: push box 33 up to 13<|assistant|>",
    ),
    Asked(
        "webshop/tiny.yaml",
        "synthetic-00001505",
        f"<|user|>search page\nTask: {WISH}<|assistant|>",
        "search bar stools",
        "<|user|>search page\nGoal: search bar stools<|assistant|>",
        "search[zzz]",
        "<|user|>page 1\nGoal: search bar stools<|assistant|>",
    ),
]

HOUSE_COMMANDS = """Commands:
  look: look around your current location
  inventory: check what you carry
  go to (receptacle): move to a receptacle
  open (receptacle) / close (receptacle): open or close a receptacle
  take (object) from (receptacle): pick up an object; you can carry only one
  move (object) to (receptacle): put the object you carry in or on a receptacle
  examine (something): look at a receptacle in front of you or at the object you carry
  use (object): turn on a lamp
  heat (object) with (receptacle): heat the object you carry with a microwave
  clean (object) with (receptacle): clean the object you carry with a sinkbasin
  cool (object) with (receptacle): cool the object you carry with a fridge
"""
FULL = [
    Asked(
        "alfworld/qwen2.5-1.5b.yaml",
        "train-small-00661",
        "<|user|>You plan for an agent in a simulated household. You are given the task and a first look at the room. "
        "Objects may lie in or on any receptacle, and closed ones must be opened to look inside. Write the sub-goals "
        "that "
        "solve the task in order, numbered, one a line, each a short phrase such as "
        '"take apple (look in fridge, countertop, garbagecan)", "clean apple with sinkbasin", "heat apple with '
        'microwave", '
        '"cool apple with fridge", "put apple in diningtable" or "use desklamp (look in desk, sidetable)". Name the '
        "kinds "
        "of places to search, the most likely ones first. Write nothing else.\n"
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 1, a drawer 1, a "
        "dresser 1, "
        "a laundryhamper 1, a shelf 3, a shelf 2, and a shelf 1.\n\n"
        "Your task is to: examine the alarmclock with the desklamp.\n"
        "Task: examine the alarmclock with the desklamp<|assistant|>",
        "take alarmclock (look in desk, dresser)",
        "<|user|>You are an agent in a simulated household and carry out one sub-goal of a larger plan. You are "
        "given the "
        "sub-goal and the current observation; answer each observation with exactly one command. Reply <sub_done> as "
        "soon as "
        f"the sub-goal is achieved.\n{HOUSE_COMMANDS}"
        'Objects and receptacles are named with their number, as in "take apple 1 from fridge 1". A command that '
        "cannot be "
        'carried out is answered by "Nothing happens."; look around or try another one then.\n'
        f"{HOUSE}\nGoal: take alarmclock (look in desk, dresser)<|assistant|>",
        "go to desk 1",
        "<|user|>You arrive at desk 1. On the desk 1, you see a alarmclock 2, a basketball 1, a creditcard 1, a "
        "desklamp 1, "
        "and a laptop 1.<|assistant|>",
    ),
    Asked(
        "webshop/qwen2.5-1.5b.yaml",
        "synthetic-00001505",
        "<|user|>You plan for an agent in an online shop that must buy what an instruction asks for: the kind of "
        "product, "
        "its attributes, its options and a price limit. Write the sub-goals in order, numbered, one a line, such as "
        '"search men\'s polos slim fit navy x-large", "open men\'s polos with slim fit, navy, x-large, at most 40 '
        'dollars", '
        '"select color navy, size x-large" and "buy it". Write nothing else.\n'
        f"WebShop [SEP] Instruction: [SEP] {WISH} [SEP] Search\nTask: {WISH}<|assistant|>",
        "search bar stools",
        "<|user|>You are an agent in an online shop and carry out one sub-goal of a larger plan. You are given the "
        "sub-goal "
        "and the current page; answer each page with exactly one action. Reply <sub_done> as soon as the sub-goal is "
        "achieved.\nActions:\n"
        "  search[words]: search the shop; possible at any time\n"
        "  click[text]: click a button, a product number or an option value that is on the page, for example "
        "click[b09gl561xh], click[x-large], click[features], click[< prev], click[next >], click[back to search] or "
        "click[buy now]\n"
        "Results show products with number, title and price. A product's page shows its options; click every value "
        "that is "
        "wanted before click[buy now]. Buying ends the task, and at most 15 actions are allowed.\n"
        f"WebShop [SEP] Instruction: [SEP] {WISH} [SEP] Search\nGoal: search bar stools<|assistant|>",
        "search[zzz]",
        f"<|user|>Instruction: [SEP] {WISH} [SEP] Back to Search [SEP] Page 1 (Total results: 0) [SEP] Next "
        "><|assistant|>",
    ),
]
GRID = "######\n#.___#\n#__@_#\n###$_#\n###__#\n######"
SOKOBAN_RULES = (
    "The board is a grid; r2c3 is row 2, column 3, counted from 0 at the top left with the outer walls.\n"
    "Symbols: # wall, _ floor, . target, $ box, * box on a target, @ player, + player on a target.\n"
    "Moves: up, down, left, right. A move into a box pushes it one cell, if the cell beyond is free. Boxes cannot be "
    "pulled, and two boxes cannot be pushed at once, so a box in a corner off a target can never be solved.\n"
)


def told(spelled: Spelled, ids: list[int], text: str, tokenizer: Any) -> None:
    """The prompt is this text, token for token; how rules that name the marker spell it is `test_chat`'s subject."""
    assert tokenizer.decode(ids) == text
    assert ids == spelled(text) or "<sub_done>" in text
    assert [ids[0], ids[-1]] == [*spelled("<|user|>"), *spelled("<|assistant|>")]


@pytest.mark.parametrize("asked", [*SHORT, *FULL], ids=lambda asked: asked.config)
def test_prompts_of_a_benchmark(asked: Asked, tokenizer: Any, spelled: Spelled) -> None:
    config, benchmark, task = setting(asked)
    agent = HierarchicalAgent(tokenizer, benchmark.texts, config.agent)
    env = benchmark.make_env()
    observation, info = env.reset(options=dict(task.options))
    told(spelled, agent.planner_prompt(info["instruction"], observation), asked.planner, tokenizer)
    start = benchmark.start_text(asked.subgoal, info.get("overview", ""), observation)
    told(spelled, agent.executor_prompt(asked.subgoal, start, info["instruction"]), asked.executor, tokenizer)
    told(spelled, agent.executor_turn(env.step(asked.action)[0], asked.subgoal), asked.follow, tokenizer)


def test_prompts_with_the_rules_of_sokoban(tokenizer: Any, spelled: Spelled) -> None:
    """Of a grid in text; the shipped configurations with the rules show pictures."""
    config = load_config(None, ["env.name=sokoban", "env.kwargs.view=grid", "env.eval_split=valid"])
    benchmark = build_benchmark(config)
    agent = HierarchicalAgent(tokenizer, benchmark.texts, config.agent)
    observation, info = benchmark.make_env().reset(options={"level": "short-train-0005"})
    planner = (
        f"<|user|>You plan for an agent that plays Sokoban: every box must be pushed onto a target.\n{SOKOBAN_RULES}"
        'Write the pushes that solve the level in order, numbered, one a line, such as "push box r3c2 left to r3c1": '
        "the box, "
        "the direction, and where it must end. The agent finds its own way to the box. Write nothing else.\n"
        f"{GRID}\nTask: push the box onto the target<|assistant|>"
    )
    executor = (
        f"<|user|>You are an agent that plays Sokoban and carry out one sub-goal of a larger plan.\n{SOKOBAN_RULES}"
        "Walk to the side of the box you must push from, then push. Answer each observation with exactly one move. "
        "Reply "
        f"<sub_done> as soon as the sub-goal is achieved.\n{GRID}\nGoal: push box r3c3 up to r1c3<|assistant|>"
    )
    told(spelled, agent.planner_prompt(info["instruction"], observation), planner, tokenizer)
    start = benchmark.start_text("push box r3c3 up to r1c3", info["overview"], observation)
    told(spelled, agent.executor_prompt("push box r3c3 up to r1c3", start, info["instruction"]), executor, tokenizer)


def hierarchical(tokenizer: Any, texts: PromptTexts = SHORT_TEXTS, **changes: Any) -> HierarchicalAgent:
    return HierarchicalAgent(tokenizer, texts, AgentConfig.model_validate(changes))


def test_what_each_setting_adds_or_leaves_out(tokenizer: Any, spelled: Spelled) -> None:
    blind = hierarchical(tokenizer, planner={"sees_observation": False})
    assert blind.planner_prompt("win", "room") == spelled("<|user|>Task: win<|assistant|>")

    plain = hierarchical(tokenizer)
    assert plain.executor_prompt("take mug", "room", "win") == spelled("<|user|>room\nGoal: take mug<|assistant|>")
    assert plain.executor_turn("You see.", "take mug") == spelled("<|user|>You see.<|assistant|>")

    seeing = hierarchical(tokenizer, PromptTexts("Plan.", "Do.", "Act."), executor={"sees_task": True})
    assert seeing.planner_prompt("win", "room") == spelled("<|user|>Plan.\nroom\nTask: win<|assistant|>")
    assert seeing.executor_prompt("take mug", "room", "win") == spelled(
        "<|user|>Do.\nTask: win\nroom\nGoal: take mug<|assistant|>"
    )

    reminding = hierarchical(tokenizer, executor={"repeat_subgoal": True})
    assert reminding.executor_turn("You see.", "take mug (look in desk)") == spelled(
        "<|user|>You see.\nGoal: take mug<|assistant|>"
    )
    assert reminding.executor_prompt("take mug (look in desk)", "room", "win") == spelled(
        "<|user|>room\nGoal: take mug (look in desk)<|assistant|>"  # whole at the start
    )


def test_the_other_agents_prompts(tokenizer: Any, spelled: Spelled) -> None:
    flat = FlatAgent(tokenizer, SHORT_TEXTS, AgentConfig.model_validate({"flat": {"repeat_task": True}}))
    assert flat.prompt("win", "room") == spelled("<|user|>Act.\nroom\nTask: win<|assistant|>")
    assert flat.turn("You see.", "win") == spelled("<|user|>You see.\nTask: win<|assistant|>")
    hiper = HiperAgent(tokenizer, SHORT_TEXTS, AgentConfig())
    assert hiper.turn("You see.", "win") == spelled("<|user|>You see.<|assistant|>")


def test_replies_end_at_the_end_token(tokenizer: Any, spelled: Spelled) -> None:
    agent = hierarchical(tokenizer)
    assert agent.chat.stop_token_ids == tuple(spelled("<|im_end|>"))
    plan = tuple(spelled("1. take mug\n2. put mug in desk<|im_end|>"))
    assert agent.parse_blueprint(plan, True) == Blueprint(("take mug", "put mug in desk"))
    both = agent.parse_reply(tuple(spelled("take mug 1<sub_done><|im_end|>")))
    assert (both.action, both.sub_done) == ("take mug 1", True)
    bare = agent.parse_reply(tuple(spelled("<sub_done><|im_end|>")))
    assert (bare.action, bare.sub_done) == (None, True)
    ablated = hierarchical(tokenizer, executor={"sub_done": False})
    bare = ablated.parse_reply(tuple(spelled("<sub_done><|im_end|>")))
    assert (bare.action, bare.sub_done) == ("", False)


GIVEN, LEARNED = ".", "^"


def drawn(row: Row, tokenizer: Any) -> list[tuple[str, str]]:
    """Runs of tokens with equal mask: the mark, and the text."""
    marked = zip(row.loss_mask.tolist(), row.input_ids.tolist(), strict=True)
    runs = groupby(marked, key=lambda pair: pair[0])
    return [(LEARNED if learned else GIVEN, tokenizer.decode([id for _, id in run])) for learned, run in runs]


DEMO = Demonstration(
    task=Task("t", "kind"),
    instruction="put a mug in desk",
    observation="room: desk 1, shelf 1",
    segments=(
        DemoSegment(
            "take mug (look in shelf)",
            "room: desk 1, shelf 1",
            (
                DemoTurn("go to sofa 1", "Nothing happens.", False, train=False),
                DemoTurn("go to shelf 1", "shelf 1: mug 1", False),
                DemoTurn("take mug 1 from shelf 1", "You pick up the mug 1.", True),
            ),
        ),
        DemoSegment("put mug in desk", "You pick up the mug 1.", (DemoTurn("put mug 1 in desk 1", "Done.", False),)),
    ),
    success=True,
)


def test_rows_beside_their_masks(tokenizer: Any) -> None:
    """A planner row learns the blueprint, an executor row the replies of one sub-goal; a shown mistake is not "
    "learned."""
    agent = hierarchical(tokenizer, executor={"repeat_subgoal": True})
    plan, take, put = agent.demo_rows(DEMO)
    assert drawn(plan, tokenizer) == [
        (".", "<|user|>room: desk 1, shelf 1\nTask: put a mug in desk<|assistant|>"),
        ("^", "1. take mug (look in shelf)\n2. put mug in desk<|im_end|>"),
    ]
    assert drawn(take, tokenizer) == [
        (".", ("<|user|>room: desk 1, shelf 1\nGoal: take mug (look in shelf)<|assistant|>"
               "go to sofa 1<|im_end|>"
               "<|user|>Nothing happens.\nGoal: take mug<|assistant|>")),
        ("^", "go to shelf 1<|im_end|>"),
        (".", "<|user|>shelf 1: mug 1\nGoal: take mug<|assistant|>"),
        ("^", "take mug 1 from shelf 1<sub_done><|im_end|>"),
    ]  # fmt: skip
    assert drawn(put, tokenizer) == [
        (".", "<|user|>You pick up the mug 1.\nGoal: put mug in desk<|assistant|>"),
        ("^", "put mug 1 in desk 1<|im_end|>"),
    ]


def test_a_flat_row_beside_its_mask(tokenizer: Any) -> None:
    """One context for the whole episode; a thought names the sub-goal where it begins."""
    (row,) = FlatAgent(tokenizer, SHORT_TEXTS, AgentConfig()).demo_rows(DEMO)
    assert drawn(row, tokenizer) == [
        (".", ("<|user|>Act.\nroom: desk 1, shelf 1\nTask: put a mug in desk<|assistant|>"
               "<think>take mug (look in shelf)</think>go to sofa 1<|im_end|>"
               "<|user|>Nothing happens.<|assistant|>")),
        ("^", "go to shelf 1<|im_end|>"),
        (".", "<|user|>shelf 1: mug 1<|assistant|>"),
        ("^", "take mug 1 from shelf 1<|im_end|>"),
        (".", "<|user|>You pick up the mug 1.<|assistant|>"),
        ("^", "<think>put mug in desk</think>put mug 1 in desk 1<|im_end|>"),
    ]  # fmt: skip


@pytest.mark.parametrize("asked", SHORT, ids=lambda asked: asked.config)
def test_demonstrations_are_asked_like_episodes(asked: Asked, tokenizer: Any) -> None:
    """What a warm start imitates begins with the prompts of the rollout."""
    config, benchmark, task = setting(asked)
    agent = HierarchicalAgent(tokenizer, benchmark.texts, config.agent)
    demo = benchmark.demonstrate(task, random.Random(1))
    plan, first, *_ = agent.demo_rows(demo)
    assert drawn(plan, tokenizer)[0] == (GIVEN, asked.planner)
    asked_first = asked.executor.replace(f"Goal: {asked.subgoal}", f"Goal: {demo.segments[0].subgoal}")
    assert drawn(first, tokenizer)[0][1].startswith(asked_first)


@pytest.mark.parametrize(
    ("subgoal", "short"),
    [
        ("take cup (look in desk, shelf)", "take cup"),
        ("select color red (dark), size 6 (wide) us", "select color red (dark), size 6 (wide) us"),
        ("buy it", "buy it"),
    ],
)
def test_only_a_remark_at_the_end_is_left_out(subgoal: str, short: str) -> None:
    assert short_form(subgoal) == short
