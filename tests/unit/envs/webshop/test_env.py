import random
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.envs.check import check_env
from himac.envs.webshop import WebShopEnv
from himac.envs.webshop.pages import ObservationMode
from himac.envs.webshop.session import page_name, parse_action
from himac.envs.webshop.store import Store
from himac.envs.webshop.view import View
from himac.errors import ConfigError, EnvironmentFailureError
from support.golden import Trail, cases, shipped
from support.webshop import recorded_tagger

# Names of pages, quoted options, hidden searches and letters that change their number in lower case.
WORDS = ["red", "<r>", "<a>", "<b>", "<c>", "<q>", "bar stools", "fashion", "search_results", "item_page", "done"]
WORDS += ['"navy"', "'", "]", "[", "{", "%", "\u2028", "\u0130", "x" * 400, "< prev", "buy now", "1"]


@pytest.mark.parametrize("mode", ["text", "text_rich"])
def test_episodes_are_those_of_the_reference(mode: ObservationMode, official: Store, shared_dir: Path) -> None:
    env = WebShopEnv(official, mode)
    env.tagger = recorded_tagger(official, shared_dir)

    def check(observation: str, info: dict[str, Any], expected: dict[str, Any]) -> None:
        assert observation == expected[f"obs_{mode}"]
        assert info["available_actions"] == expected["available"]
        assert page_name(env.session.page.url) == expected["url_page"]

    for episode in cases(shared_dir, "webshop_episodes"):
        check(*env.reset(options={"goal": episode["goal_index"]}), episode["reset"])
        bought = None
        for step in episode["steps"]:
            before = env.session.page
            observation, reward, terminated, truncated, info = env.step(step["action"])
            if "raises" in step:
                assert info["invalid"]
                assert env.session.page is before
                break
            check(observation, info, step)
            assert (reward, terminated, truncated) == (step["reward"], step["done"], False)
            assert (env.session.product, list(env.session.options.items())) == (
                *(step["asin"], list(step["options"].items())),
            )
            bought = info.get("purchase", bought)
        if episode["final"]:
            assert bought.details() == episode["final"]["info"]
            assert (bought.price, bought.asin) == (episode["final"]["price"], episode["final"]["purchased_asin"])
            assert list(bought.chosen.items()) == list(episode["final"]["options"].items())


def test_episodes_in_the_generated_catalogue_are_the_original_s(builtin: Store) -> None:
    """Both texts, available actions, pages, rewards and sessions, as the original's digests have them."""
    env, rich = (WebShopEnv(builtin, mode, tagger="rule") for mode in ("text", "text_rich"))

    def shown(observation: str, rich_observation: str, info: dict[str, Any]) -> tuple[Any, ...]:
        return observation, rich_observation, info["available_actions"], page_name(env.session.page.url)

    episodes = [record for record in shipped("webshop") if record["id"].startswith("goal ")]
    scores, raised = list[float](), 0
    for record in episodes:
        goal, trail = {"goal": int(record["id"].removeprefix("goal "))}, Trail()
        observation, info = env.reset(options=goal)
        trail.add(*shown(observation, rich.reset(options=goal)[0], info))
        for number, action in enumerate(record["actions"]):
            before = env.session.page
            observation, reward, terminated, _, info = env.step(action)
            if record["raises"] and number == len(record["actions"]) - 1:
                assert info["invalid"]
                assert env.session.page is before
                trail.add("raises")
                raised += 1
                break
            session = env.session
            options = list(session.options.items())
            trail.add(*shown(observation, rich.step(action)[0], info), reward, terminated, session.product, options)
            scores += [reward] * terminated
        trail.assert_equal(record, ["reset", *record["actions"]])
    assert (len(episodes), raised > 3) == (60, True)
    assert sum(score == 1 for score in scores) > 15
    assert sum(score < 1 for score in scores) > 3


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[Red Shoes]", ("search", "red shoes")),
        ("search[a[b]]", ("search[a", "b]")),
        ("search[a] b] c", ("search", "a] b")),
        ("click[]", ("click[]", None)),
        ("search[a\nb]", ("search[a\nb]", None)),
        ("search[a]\nmore", ("search", "a")),
        ("", ("", None)),
    ],
)
def test_actions(action: str, parsed: tuple[str, str | None]) -> None:
    assert parse_action(action) == parsed


@given(st.text(max_size=40) | st.from_regex(r"(click|search)\[[^\n]{0,20}\]?.{0,5}"))
def test_every_text_is_an_action(text: str) -> None:
    name, argument = parse_action(text)
    assert text.startswith(name)
    assert argument is None or argument == argument.lower()


@pytest.mark.parametrize("shop", ["builtin", "official"])
@pytest.mark.parametrize("view", ["text", "text_rich", "compact"])
def test_random_actions(shop: str, view: View, request: pytest.FixtureRequest) -> None:
    """Whatever is said, the environment answers; what it calls invalid changes nothing, what it offers is valid."""
    rng = random.Random(0)
    env = WebShopEnv(request.getfixturevalue(shop), view, tagger="rule")
    for episode in range(40):
        _, info = env.reset(seed=episode)
        for _ in range(25):
            offered = info["admissible_commands"]
            pick = rng.random()
            if pick < 0.6:
                action = rng.choice(offered) if offered else "search[x]"
            elif pick < 0.9:
                action = f"{rng.choice(('search', 'click'))}[{' '.join(rng.choices(WORDS, k=rng.randint(1, 4)))}]"
            else:
                action = "".join(rng.choices("search[click]<> \nab\u0130", k=rng.randint(0, 12)))
            before = env.session.page
            observation, reward, terminated, truncated, info = env.step(action)
            assert isinstance(observation, str)
            assert 0 <= reward <= 1
            assert not truncated
            assert (env.session.page is before) or not info["invalid"]
            assert not (info["invalid"] and action in offered)
            assert terminated == ("purchase" in info)


def test_the_compact_view_numbers_products(builtin: Store) -> None:
    views: dict[View, bool] = {"compact": True, "text": False}
    for view, valid in views.items():
        env = WebShopEnv(builtin, view, tagger="rule")
        env.reset(options={"goal": 3})
        env.step("search[bar stools]")
        second = env.session.page.offers()[1]
        _, *_, info = env.step("click[2]")
        assert info["invalid"] is not valid
        assert (env.session.product == second.asin) is valid
        assert env.step("click[99]")[4]["invalid"]


def test_the_compact_view_is_as_strict_as_the_shop(builtin: Store) -> None:
    env = WebShopEnv(builtin, "compact", tagger="rule")
    env.reset(options={"goal": 3})
    env.step("search[bar stools]")
    assert env.step("click[1] or click[2]")[4]["invalid"]
    assert not env.step("click[1] is what I want")[4]["invalid"]


def test_hidden_searches(builtin: Store) -> None:
    env = WebShopEnv(builtin, tagger="rule")
    env.reset(seed=1, options={"goal": 3})
    for action, total in (("search[<r>]", 50), ("search[<c> fashion]", 360), ("search[<q> bar stools]", 30)):
        assert f"Total results: {total})" in env.step(action)[0]
    page = env.session.page
    for action in ("search[<a> soft]", "search[<c>]"):
        assert env.step(action)[4]["invalid"]
        assert env.session.page is page


def test_option_named_like_a_page(builtin: Store) -> None:
    """An address that contains a page's name is taken for that page, as in the original."""
    env = WebShopEnv(builtin, tagger="rule")
    goal = builtin.goal("synthetic", 0)
    env.reset(options={"goal": 0})
    env.step(f"search[{goal.query} search_results]")
    env.step("click[next >]")
    first = env.session.page.clickables()[3]
    env.step(f"click[{first}]")
    assert page_name(env.session.page.url) == "search_results"
    env.step("click[< prev]")
    assert "Page 1 (" in env.session.page.text("text")


def test_what_was_looked_at_is_marked(builtin: Store) -> None:
    env = WebShopEnv(builtin, "text_rich", tagger="rule")
    goal = builtin.goal("synthetic", 0)
    env.reset(options={"goal": 0})
    env.step(f"search[{goal.query} {' '.join(goal.attributes)}]")
    env.step(f"click[{goal.asin}]")
    assert isinstance(goal.options, dict)
    value = next(iter(goal.options.values()))
    observation = env.step(f"click[{value.upper()}]")[0]
    assert observation.startswith(f"You have clicked {value}.\n")
    assert f"  [clicked button] {value} [clicked button_]\n" in observation
    assert f"\n[clicked button] {goal.asin} [clicked button_]\n" in env.step("click[< prev]")[0]
    assert env.session.options == {}


@pytest.mark.parametrize("exact", [False, True])
def test_rewards(exact: bool, builtin: Store) -> None:
    env = WebShopEnv(builtin, exact=exact, tagger="rule")
    goal = builtin.goal("synthetic", 0)
    assert isinstance(goal.options, dict)
    for values, perfect in ((goal.options.values(), True), ([], False)):
        env.reset(options={"goal": 0})
        for action in (f"search[{goal.name}]", f"click[{goal.asin}]", *(f"click[{value}]" for value in values)):
            assert env.step(action)[1:3] == (0.0, False)
        _, reward, terminated, _, info = env.step("click[buy now]")
        assert terminated
        assert (info["score"] == 100.0) == info["won"] == perfect
        assert reward == pytest.approx(float(perfect) if exact else info["score"] / 100)
        assert info["purchase"].tagger == info["tagger"] == "rule"
        assert env.step("click[buy now]")[4]["invalid"]


def test_it_is_an_environment(builtin: Store) -> None:
    env = WebShopEnv(builtin, tagger="rule")
    assert isinstance(env, gymnasium.Env)
    check_env(env, {"goal": 5})
    check_env(env)


def test_goals_are_drawn_by_weight(builtin: Store) -> None:
    env = WebShopEnv(builtin, tagger="rule")
    first = env.reset(seed=4)[1]["goal"]
    drawn = [env.reset()[1]["goal"] for _ in range(20)]
    assert len(set(drawn)) > 15
    assert env.reset(seed=4)[1]["goal"] == first


@pytest.mark.parametrize("options", [{"goal": -1}, {"goal": 10**6}, {"goal": "1"}, {"goal": True}, {"game": 1}])
def test_bad_reset_options(options: dict[str, Any], builtin: Store) -> None:
    with pytest.raises(ConfigError, match="option"):
        WebShopEnv(builtin, tagger="rule").reset(options=options)


def test_bad_arguments(builtin: Store) -> None:
    with pytest.raises(ConfigError, match="view"):
        WebShopEnv(builtin, "html")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="human goals"):
        WebShopEnv(builtin, goals="human")
    with pytest.raises(EnvironmentFailureError, match="reset"):
        WebShopEnv(builtin, tagger="rule").step("search[a]")
