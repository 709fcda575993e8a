"""WebShop as a `Benchmark`: a generated or the official catalogue, a view of its pages, and the scripted customer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

import gymnasium

from himac.envs.base import SHORT_TEXTS
from himac.envs.paths import expand_variables
from himac.envs.webshop.catalogue import Product, read_products
from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.generator import VERSION, generate
from himac.envs.webshop.goals import GOAL_KINDS, SPLITS, GoalKind
from himac.envs.webshop.nouns import make_tagger
from himac.envs.webshop.shopper import demonstrate, plan
from himac.envs.webshop.store import Store, digest, open_store
from himac.envs.webshop.view import VIEWS, View
from himac.errors import ConfigError, DataError
from himac.types import Demonstration, PromptTexts, Task

BUILTIN = "builtin"
HUMAN = "items_human_ins.json"
FILES = (("items_shuffle_1000.json", "items_ins_v2_1000.json"), ("items_shuffle.json", "items_ins_v2.json"))

_RULES = """Actions:
  search[words]: search the shop; possible at any time
  click[text]: click a button, a product number or an option value that is on the page, for example click[b09gl561xh], \
click[x-large], click[features], click[< prev], click[next >], click[back to search] or click[buy now]
Results show products with number, title and price. A product's page shows its options; click every value that is \
wanted before click[buy now]. Buying ends the task, and at most 15 actions are allowed."""
_LIST_RULES = _RULES.replace(
    "Buying ends the task, and at most 15 actions are allowed.",
    "The instruction is a numbered list: buy what it asks for in this order, one purchase each. After a purchase you "
    "are back on the search page for the next one. At most 15 actions are allowed for each purchase.",
)
_LIST = (
    " The instruction is a numbered list of purchases; write the sub-goals of all of them in this order, in one list."
)
STEPS_A_PURCHASE = 15
_FULL_TEXTS = PromptTexts(
    planner=(
        "You plan for an agent in an online shop that must buy what an instruction asks for: the kind of product, its "
        "attributes, its options and a price limit. Write the sub-goals in order, numbered, one a line, such as "
        '"search men\'s polos slim fit navy x-large", "open men\'s polos with slim fit, navy, x-large, at most 40 '
        'dollars", "select color navy, size x-large" and "buy it". Write nothing else.'
    ),
    executor=(
        "You are an agent in an online shop and carry out one sub-goal of a larger plan. You are given the sub-goal "
        "and the current page; answer each page with exactly one action. Reply <sub_done> as soon as the sub-goal is "
        f"achieved.\n{_RULES}"
    ),
    flat=(
        "You are an agent in an online shop and must buy what the instruction asks for. Answer each page with exactly "
        f"one action.\n{_RULES}"
    ),
)


class WebShopBenchmark:
    """The WebShop tasks. Training pays 10 for a purchase that scores exactly 1, and 0 for any other.

    Args:
        data: `builtin` for the generated catalogue, or a folder with the official files: `items_shuffle_1000.json` and
            `items_ins_v2_1000.json`, else `items_shuffle.json` and `items_ins_v2.json`; with `items_human_ins.json`
            for human goals.
        view: `text` and `text_rich` are the official texts; `compact` is short, for small models.
        goals: `synthetic` or `human`.
        fixed_options: Repair the original's comparison of options; scores are then not comparable with published ones.
        tagger: What finds the nouns in titles: `spacy`, `textblob`, `rule`, or `auto` for the first installed.
        noise: Probability of a shown mistake before each demonstrated action.
        purchases: Goals of a task, to be bought one after another; each pays its share of the 10.
    """

    name = "webshop"
    reward_scale = 10.0
    worst_step_reward = 0.0

    def __init__(
        self,
        data: str = BUILTIN,
        view: View = "text",
        goals: GoalKind = "synthetic",
        fixed_options: bool = False,
        tagger: str = "auto",
        noise: float = 0.0,
        purchases: int = 1,
    ) -> None:
        if view not in VIEWS:
            raise ConfigError(f"webshop has no view {view!r}; choose one of {', '.join(VIEWS)}.")
        if goals not in GOAL_KINDS:
            raise ConfigError(f"webshop has no goals {goals!r}; choose synthetic or human.")
        if not isinstance(data, str) or not data:
            raise ConfigError(f"webshop data is {data!r}; give a folder or {BUILTIN}.")
        if not isinstance(noise, int | float) or not 0.0 <= noise <= 1.0:
            raise ConfigError(f"webshop noise is {noise}; choose a probability from 0 to 1.")
        if type(purchases) is not int or purchases < 1:
            raise ConfigError(f"webshop purchases is {purchases!r}; choose a number from 1.")
        self.view: View = view
        self.goals: GoalKind = goals
        self.purchases = purchases
        self.step_limit = STEPS_A_PURCHASE * purchases
        self.fixed_options = fixed_options
        self.tagger = make_tagger(tagger).name
        self._tagger = tagger
        self._noise = noise
        self.texts = SHORT_TEXTS if view == "compact" else _FULL_TEXTS
        if view != "compact" and purchases > 1:
            rules = [text.replace(_RULES, _LIST_RULES) for text in (self.texts.executor, self.texts.flat)]
            self.texts = PromptTexts(self.texts.planner + _LIST, *rules)
        self._data = data
        self._files = () if data == BUILTIN else _official(data)

    @property
    def store(self) -> Store:
        """The products and goals, opened on first use and shared within the process."""
        return _open(self._files)

    @property
    def conditions(self) -> dict[str, str | bool]:
        """What scores depend on besides the tasks; stands in results."""
        return {"tagger": self.tagger, "fixed_options": self.fixed_options}

    def splits(self) -> Sequence[str]:
        """`train`, `eval` and `test`, by the official ranges of shuffled goals; those that have goals."""
        total = self._total()
        return [split for split in ("train", "eval", "test") if SPLITS[split][0] < total]

    def tasks(self, split: str) -> Sequence[Task]:
        """One task a goal, sorted by id, made when it is asked for; `kind` is the department of the product.

        With several purchases the others are drawn from the same split by the id, and `kind` is `purchases-K`.
        """
        known = self.splits()
        if split not in known:
            raise ConfigError(f"{self._data} has no split {split!r}; choose one of {', '.join(known)}.")
        start, end = SPLITS[split]
        numbers = range(start, self._total() if end is None else min(end, self._total()))
        if len(numbers) < self.purchases:
            raise ConfigError(
                f"split {split!r} of {self._data} has {len(numbers)} goals, too few for lists of {self.purchases}; "
                "set env.kwargs.purchases lower."
            )
        return _Tasks(self, numbers, numbers)

    def split_hash(self, split: str) -> str:
        """SHA-256 (hex) over ids, products, instructions and price limits of a split in the order of the ids."""
        whole = hashlib.sha256()
        for task in self.tasks(split):
            for number in _numbers(task):
                goal = self.store.goal(self.goals, number)
                whole.update(f"{task.id}\n{goal.asin}\n{goal.instruction}\n{goal.price_upper}\n".encode())
        return whole.hexdigest()

    def make_env(self) -> gymnasium.Env[str, str]:
        """A new environment for every split's tasks, in the benchmark's view; it pays 1 for a perfect purchase."""
        return self._env()

    def start_text(self, subgoal: str, overview: str, observation: str) -> str:
        """The latest page; it says everything."""
        return observation

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """The scripted customer's episode."""
        return demonstrate(self._env(), task, rng, self._noise, STEPS_A_PURCHASE)

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """The scripted customer's blueprint for other goals than those of the task."""
        total = self._total()
        others = [(number + rng.randrange(1, max(total, 2))) % total for number in _numbers(task)]
        return tuple(subgoal for other in others for subgoal in plan(self.store.goal(self.goals, other)))

    def _env(self) -> WebShopEnv:
        return WebShopEnv(self.store, self.view, self.goals, True, self.fixed_options, self._tagger)

    def _total(self) -> int:
        total = self.store.goals(self.goals)
        if not total:
            raise DataError(f"{self._data} has no {self.goals} goals; add {HUMAN} or set env.kwargs.goals=synthetic.")
        return total


class _Tasks(Sequence[Task]):
    """The tasks of some goals; there are millions of all products, so they are not kept.

    Args:
        split: Every goal of the split, from which lists are filled up.
    """

    def __init__(self, shop: WebShopBenchmark, numbers: range, split: range) -> None:
        self._shop, self._numbers, self._split = shop, numbers, split

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Task: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Task]: ...

    def __getitem__(self, at: int | slice) -> Task | Sequence[Task]:
        if isinstance(at, slice):
            return _Tasks(self._shop, self._numbers[at], self._split)
        number, kind, count = self._numbers[at], self._shop.goals, self._shop.purchases
        identifier = f"{kind}-{number:08d}"
        if count == 1:
            return Task(identifier, self._shop.store.goal_category(kind, number), {"goal": number})
        drawn = random.Random(f"{identifier}x{count}").sample(self._split, count)
        others = [other for other in drawn if other != number][: count - 1]
        return Task(f"{identifier}x{count}", f"purchases-{count}", {"goal": (number, *others)})


def _numbers(task: Task) -> tuple[int, ...]:
    goal = task.options["goal"]
    return (goal,) if isinstance(goal, int) else tuple(goal)


@lru_cache(maxsize=4)
def _open(files: tuple[Path, ...]) -> Store:
    if not files:
        return open_store(f"generated/{VERSION}", generate)

    def produce() -> Iterable[Product]:
        return read_products(files[0], files[1], files[2] if len(files) > 2 else None)

    return open_store(digest(*files), produce)


def _official(data: str) -> tuple[Path, ...]:
    """Product file, attribute file and, where there is one, the file of human goals."""
    expanded = expand_variables(data, "the official files", BUILTIN)
    root = Path(expanded).expanduser()
    for names in FILES:
        files = [root / name for name in names]
        if all(file.is_file() for file in files):
            return (*files, *([root / HUMAN] if (root / HUMAN).is_file() else ()))
    raise DataError(f"no WebShop data at {expanded}; give a folder with {' and '.join(FILES[0])}, or {BUILTIN}.")
