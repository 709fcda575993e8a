"""Lets the original shop sell the generated catalogue and writes digests of what it does.

`python -m golden.record_webshop CHECKOUT` in tests/. CHECKOUT is a clone of github.com/princeton-nlp/WebShop (recorded
with 64fa2a5) without data; the catalogue is written into it in the official files' form, and the clone's own script and
Lucene index it. Needs Java and the originals' packages flask, beautifulsoup4, thefuzz, rich, tqdm, gym, pyjnius and
pyserini 0.17.0 (its jar alone, so install it with --no-deps).

Pages, sessions, prices, goals, rewards and search are the original's. Stubs stand for what it imports and does not use
here (torch, cleantext, rank_bm25, selenium's environment), for pyserini's Python layer, which imports models, and for
spaCy: its model is replaced by the tagger `rule` of this project, so digests say nothing about the nouns in titles.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import types
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from himac.envs.webshop.generator import records as catalogue
from himac.envs.webshop.nouns import make_tagger
from support.golden import Record, Trail, ship

EPISODES, SEARCHES, PURCHASES = 60, 150, 300
_SEED = 42
_PARTS = ("description", "features", "reviews", "attributes")
_WRONG = ("click[zzz]", "buy now", "search[]", "click[search]", "Search[tables]", "click[< prev", "search[<a> soft]")
_PUNCTUATION = ("%", "'s", "!", " -", "(", "2.5", " and the", "ies", "é")


def write_data(checkout: Path) -> None:
    """The catalogue as official files, and Lucene's index of it, made as the original's setup makes it."""
    data, engine = checkout / "data", checkout / "search_engine"
    data.mkdir(exist_ok=True)
    items, known = zip(*catalogue(), strict=True)
    attributes = {item["asin"]: entry for item, entry in zip(items, known, strict=True)}
    for name, content in (("shuffle_1000", items), ("ins_v2_1000", attributes), ("human_ins", {})):
        (data / f"items_{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for name in ("resources", "resources_100", "resources_1k", "resources_100k"):
        (engine / name).mkdir(exist_ok=True)
    script = "import runpy; from golden.record_webshop import stub; stub(); runpy.run_path({!r})"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(checkout), *sys.path])}
    convert = [sys.executable, "-c", script.format("convert_product_file_format.py")]
    subprocess.run(convert, cwd=engine, env=env, check=True)
    options = (
        "-collection JsonCollection -generator DefaultLuceneDocumentGenerator -threads 1 -input resources "
        "-index indexes -storePositions -storeDocvectors -storeRaw"
    )
    command = ["java", "-cp", str(_jar()), "io.anserini.index.IndexCollection", *options.split()]
    subprocess.run(command, cwd=engine, check=True)


def _jar() -> Path:
    files = distribution("pyserini").files or []
    return Path(str(next(file for file in files if file.name.endswith("-fatjar.jar")).locate()))


def stub() -> None:
    """Modules in the place of those that the original imports."""
    for name in ("torch", "cleantext", "rank_bm25", "spacy", "pyserini", "pyserini.search", "pyserini.search.lucene"):
        sys.modules[name] = types.ModuleType(name)
    site = sys.modules["web_agent_site.envs.web_agent_site_env"] = types.ModuleType("web_agent_site_env")
    site.WebAgentSiteEnv = None  # type: ignore[attr-defined]
    sys.modules["rank_bm25"].BM25Okapi = None  # type: ignore[attr-defined]
    sys.modules["pyserini.search.lucene"].LuceneSearcher = _lucene  # type: ignore[attr-defined]
    nouns = make_tagger("rule").nouns

    def load(_: str) -> Any:
        return lambda text: [types.SimpleNamespace(text=noun, pos_="NOUN") for noun in nouns(text)]

    sys.modules["spacy"].load = load  # type: ignore[attr-defined]


def _lucene(index: str) -> Any:
    import jnius_config

    jnius_config.set_classpath(str(_jar()))
    from jnius import autoclass

    searcher = autoclass("io.anserini.search.SimpleSearcher")(index)
    as_text = autoclass("java.lang.String")

    def search(query: str, k: int) -> Any:
        return searcher.search(as_text(query.encode("utf-8")), k)

    def doc(name: str) -> Any:
        return types.SimpleNamespace(raw=lambda: searcher.documentRaw(name))

    return types.SimpleNamespace(search=search, doc=doc)


def chances(goal: Any, available: Any, rng: random.Random) -> str:
    """Anything: mostly something that the page offers."""
    pick = rng.random()
    if pick < 0.1:
        return rng.choice(_WRONG)
    if pick < 0.25:
        return f"search[{query(goal, rng)}]"
    found = [text for text in available["clickables"] if text != "search"]
    return f"click[{rng.choice(found)}]" if found else f"search[{goal['query']}]"


def query(goal: Any, rng: random.Random) -> str:
    """Words of a goal in any order, here and there with marks and other endings; now and then a hidden search."""
    pick = rng.random()
    if pick < 0.1:
        return f"<{rng.choice('qc')}> {goal['query'] if rng.random() < 0.5 else goal['category']}"
    words = f"{goal['instruction_text']} {goal['name']}".split() if pick < 0.6 else goal["query"].split()
    chosen = rng.sample(words, min(len(words), rng.randint(1, 8)))
    return " ".join(word + rng.choice(_PUNCTUATION) if rng.random() < 0.15 else word for word in chosen)


def script(goal: Any, rng: random.Random) -> list[str]:
    """The way to a purchase of what is wanted, with a look at some texts; another option is chosen first at times."""
    around = [f"click[{name}]" for name in rng.sample(_PARTS, rng.randint(0, 2))]
    looks = [action for click in around for action in (click, "click[< prev]")]
    options = [f"click[{value.upper() if rng.random() < 0.3 else value}]" for value in goal["goal_options"].values()]
    pages = ["click[next >]", "click[< prev]"] * rng.randint(0, 1)
    search = f"search[{goal['name']}]"
    actions = [search, *pages, f"click[{goal['asin'].lower()}]", *looks, *options]
    if rng.random() < 0.3:
        actions += ["click[< prev]", f"click[{goal['asin']}]", *options[: rng.randint(0, len(options))]]
    return [*actions, "click[buy now]", "search[after the end]"]


def play(env: Any, number: int) -> Record:
    """One episode; it ends where the original raises."""
    rng, trail, raises = random.Random(number), Trail(), False
    env.reset(session=number)
    goal = env.server.user_sessions[env.session]["goal"]
    trail.add(*show(env))
    planned = script(goal, rng) if rng.random() < 0.5 else []
    actions = list[str]()
    for step in range(len(planned) or 20):
        action = planned[step] if planned else chances(goal, env.get_available_actions(), rng)
        actions.append(action)
        try:
            _, reward, done, _ = env.step(action)
        except TypeError:  # it looks attributes up in None
            assert action.startswith("search[<a>"), action
            trail.add("raises")
            raises = True
            break
        session = env.server.user_sessions[env.session]
        trail.add(*show(env), float(reward), done, session["asin"], list(session["options"].items()))
    return {"id": f"goal {number}", "actions": actions, "raises": raises} | trail.record()


def show(env: Any) -> tuple[Any, ...]:
    texts = []
    for mode in ("text", "text_rich"):
        env.observation_mode = mode
        texts.append(env.observation)
    return *texts, env.get_available_actions(), env.server.get_page_name(env.browser.current_url)


def records(env: Any) -> list[Record]:
    server, rng, made = env.server, random.Random(0), list[Record]()

    def add(name: str, actions: Any, trail: Trail) -> None:
        made.append({"id": name, "actions": actions} | trail.record())

    trail = Trail()
    for product in server.all_products:
        trail.add(product["asin"], server.product_prices[product["asin"]])
    add("prices", len(server.all_products), trail)

    keys = ("asin", "instruction_text", "attributes", "price_upper", "weight")
    trail = Trail()
    for goal in server.goals:
        trail.add(*(goal[key] for key in keys), list(goal["goal_options"].items()))
    add("goals", len(server.goals), trail)

    trail, queries = Trail(), list[str]()
    while len(queries) < SEARCHES:
        words = query(rng.choice(server.goals), rng).lower()
        if not words.startswith("<"):
            queries.append(words)
            trail.add([hit.docid for hit in server.search_engine.search(words, k=50)])
    add("searches", queries, trail)

    reward = importlib.import_module("web_agent_site.engine.goal").get_reward
    trail, bought = Trail(), list[tuple[int, str, dict[str, str]]]()
    for _ in range(PURCHASES):
        number = rng.randrange(len(server.goals))
        goal = server.goals[number]
        brand = goal["name"].split()[:2]
        near = {
            "kind": [one for one in server.all_products if one["query"] == goal["query"]],
            "brand": [one for one in server.all_products if one["name"].split()[:2] == brand],
            "any": server.all_products,
        }
        product = rng.choice(near[rng.choice(sorted(near))])
        chosen = {name: rng.choice(values) for name, values in product["options"].items() if rng.random() < 0.8}
        bought.append((number, product["asin"], chosen))
        trail.add(*reward(product, goal, server.product_prices[product["asin"]], chosen, verbose=True))
    add("rewards", bought, trail)

    return made + [play(env, number) for number in rng.sample(range(len(server.goals)), EPISODES)]


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    write_data(checkout)
    sys.path.insert(0, str(checkout))
    stub()
    shop = importlib.import_module("web_agent_site.envs.web_agent_text_env")
    os.chdir(checkout)
    random.seed(_SEED)
    made = records(shop.WebAgentTextEnv(observation_mode="text", num_products=None, human_goals=False))
    print(ship("webshop", made), len(made))


if __name__ == "__main__":
    main()
