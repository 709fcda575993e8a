"""WebShop as a Gymnasium environment: the original's pages, search and reward without a browser or a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Text

from himac.envs.webshop.goals import GOAL_KINDS, Goal, GoalKind
from himac.envs.webshop.nouns import make_tagger
from himac.envs.webshop.session import Session
from himac.envs.webshop.store import Store
from himac.envs.webshop.view import VIEWS, View, clickables, render, spell
from himac.errors import ConfigError, EnvironmentFailureError

_LONGEST = 1 << 20


class AnyText(Text):
    """Every string; product texts hold characters of all scripts."""

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class WebShopEnv(gymnasium.Env[str, str]):
    """A customer's session: `search[words]` and `click[button, product or option]`.

    `reset(options={"goal": number})` selects the goal; without options one is drawn by weight with the environment's
    random generator. The reward comes with `click[buy now]`, 0 to 1. There is no time limit, and as in the original a
    search after the purchase goes on.

    A list of numbers is a shopping list: after a purchase a new session begins with the next goal, on its search page,
    under a line that says so. The instruction numbers all goals. Each of K purchases pays its reward / K.

    `info` has the keys `instruction`, `goal` (its number), `won` (all bought with reward 1), `score` (the mean reward,
    those not yet made as 0, whatever `exact` says), `available_actions` (`has_search_bar`, `clickables` in the
    original's order), `admissible_commands`, `tagger`, after `step` `invalid`, and after a purchase `purchase` (a
    `Purchase`).

    Args:
        observation_mode: `text` joins the visible texts with ` [SEP] `, `text_rich` marks buttons, a text a line;
            `compact` is not an original one, see `view.compact`.
        goals: `synthetic` or `human` ones.
        exact: Pay 1 for a perfect purchase and 0 for any other, as the methods compared here train.
        fixed_options: See `reward.score`.
        tagger: See `nouns.make_tagger`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        store: Store,
        observation_mode: View = "text",
        goals: GoalKind = "synthetic",
        exact: bool = False,
        fixed_options: bool = False,
        tagger: str = "auto",
    ) -> None:
        if observation_mode not in VIEWS:
            raise ConfigError(f"webshop has no view {observation_mode!r}; choose one of {', '.join(VIEWS)}.")
        if goals not in GOAL_KINDS:
            raise ConfigError(f"webshop has no goals {goals!r}; choose synthetic or human.")
        if not store.goals(goals):
            raise ConfigError(f"these products have no {goals} goals; choose the other kind or add the goal file.")
        self.store = store
        self.observation_mode: View = observation_mode
        self.goals: GoalKind = goals
        self.exact = exact
        self.fixed_options = fixed_options
        self.tagger = make_tagger(tagger)
        self.observation_space = AnyText(_LONGEST, min_length=0)
        self.action_space = AnyText(_LONGEST, min_length=0)
        self._session: Session | None = None
        self.wanted: tuple[Goal, ...] = ()
        self._rewards: tuple[float, ...] = ()

    @property
    def session(self) -> Session:
        """The running session, for scripts and views; do not change it."""
        if self._session is None:
            raise EnvironmentFailureError("no customer is in the shop; call reset first.")
        return self._session

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start a session with the goal that `options` names, or with a random one."""
        super().reset(seed=seed)
        self.wanted, self._rewards = self._select(options or {}), ()
        session = self._enter(self.wanted[0])
        return self._text(session), self._info(session)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out an action; the name must be exact, the argument may be in any case."""
        session = self.session
        valid = session.act(spell(action, session.page, self.observation_mode))
        bought = session.purchase if valid else None
        if bought is None:
            return self._text(session), 0.0, False, False, self._info(session) | {"invalid": not valid}
        total = len(self.wanted)
        self._rewards = (*self._rewards[: total - 1], bought.reward)
        done, note = len(self._rewards), ""
        if done < total:
            session, note = self._enter(self.wanted[done]), f"Purchase {done} of {total} is made.\n"
        won = self._rewards == (1.0,) * total
        paid = float(bought.reward == 1.0) if self.exact else bought.reward
        info = self._info(session) | {"invalid": False, "won": won, "purchase": bought}
        return note + self._text(session), paid / total, done == total, False, info

    def clone_state(self) -> tuple[Any, ...]:
        """Numbers of the goals, rewards so far, what the server remembers, and the random generator."""
        numbers = [goal.number for goal in self.wanted]
        return numbers, self._rewards, self.session.goal.number, self.session.state, self.np_random.bit_generator.state

    def restore_state(self, state: tuple[Any, ...]) -> None:
        """Go on with the session as it was."""
        numbers, self._rewards, number, remembered, generator = state
        self.wanted = tuple(self.store.goal(self.goals, wanted) for wanted in numbers)
        self._enter(self.store.goal(self.goals, number)).state = remembered
        self.np_random.bit_generator.state = generator

    def _enter(self, goal: Goal) -> Session:
        self._session = Session(self.store, goal, self.tagger, self.fixed_options, self._draw)
        return self._session

    def _text(self, session: Session) -> str:
        return render(session.page, self.observation_mode, session.options, session.purchase)

    def _info(self, session: Session) -> dict[str, Any]:
        page = session.page
        texts = clickables(page, self.observation_mode)
        # What the action grammar cannot say is not offered: empty texts and line ends.
        commands = {f"click[{text}]" for text in texts if text and "\n" not in text and text != "search"}
        if page.searchable:
            commands.add("search[keywords]")
        return {
            "instruction": write_list([goal.instruction for goal in self.wanted]),
            "goal": session.goal.number,
            "won": False,
            "score": 100.0 * sum(self._rewards) / len(self.wanted),
            "available_actions": {"has_search_bar": page.searchable, "clickables": texts},
            "admissible_commands": sorted(commands),
            "tagger": self.tagger.name,
        }

    def _draw(self, count: int, total: int) -> list[int]:
        return [int(number) for number in self.np_random.choice(total, count, replace=False)]

    def _select(self, options: dict[str, Any]) -> tuple[Goal, ...]:
        unknown = options.keys() - {"goal"}
        if unknown:
            raise ConfigError(f"unknown reset option '{min(map(str, unknown))}'; WebShop's only option is 'goal'.")
        total = self.store.goals(self.goals)
        wanted = options.get("goal")
        if wanted is None:
            sums = self.store.sums(self.goals)
            wanted = min(int(np.searchsorted(sums, self.np_random.random() * sums[-1], "right")), total - 1)
        numbers: Sequence[Any] = wanted if isinstance(wanted, list | tuple) and wanted else [wanted]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < total:
                raise ConfigError(f"reset option goal={wanted!r} is no goal number below {total}, nor a list of such.")
        return tuple(self.store.goal(self.goals, int(number)) for number in numbers)


def write_list(instructions: Sequence[str]) -> str:
    """One instruction as it is, several with their numbers in one line."""
    if len(instructions) == 1:
        return instructions[0]
    return "; ".join(f"{number}. {text}" for number, text in enumerate(instructions, 1))
