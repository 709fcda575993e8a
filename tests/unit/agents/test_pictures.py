"""Pictures in prompts: spelled as the chat template spells them, placed where they are, never trained on."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from himac.agents.chat import ChatFormat
from himac.agents.describer import Describer
from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.prompting import PromptedHierarchicalAgent
from himac.agents.react import ReactAgent
from himac.agents.recorder import SegmentRecorder
from himac.agents.reflexion import ReflexionAgent
from himac.config import AgentConfig
from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.errors import ConfigError
from himac.models.loading import load_model
from himac.rollout.rows import segment_row
from himac.scene import Image, Placed, Prompt, Scene, pictures_in
from himac.types import Demonstration, Role, Turn
from support.tiny_vision import picture, write_model
from support.toy import ByteTokenizer

A, B = picture(1), picture(2, 16, 16)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(write_model(tmp_path_factory.mktemp("models"), "qwen2.5-vl"))[1]


@pytest.fixture(scope="module")
def shown() -> tuple[SokobanBenchmark, Demonstration]:
    benchmark = SokobanBenchmark(view="grid", observation="image", image_size=[48, 48])
    return benchmark, benchmark.demonstrate(benchmark.tasks("valid")[4], random.Random(0))


def rendered(tokenizer: Any, messages: list[dict[str, Any]], pictures: list[Image]) -> list[int]:
    """The whole conversation by the chat template, its image tokens repeated as the model's processor repeats them."""
    pad = "<|image_pad|>"
    pieces = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True).split(pad)
    for number, one in enumerate(pictures):
        pieces[number] += pad * tokenizer.processor.count(one)
    return list(tokenizer.encode("".join(pieces), add_special_tokens=False))


def test_pieces_are_what_the_template_writes(tokenizer: Any) -> None:
    chat = ChatFormat(tokenizer)
    opening, following = chat.open(Scene(("rules\n", A, "\ngo"))), chat.follow(Scene((B, "\n", A)))
    messages = [
        {"role": "user", "content": [_text("rules\n"), {"type": "image"}, _text("\ngo")]},
        {"role": "assistant", "content": "up"},
        {"role": "user", "content": [{"type": "image"}, _text("\n"), {"type": "image"}]},
    ]
    assert opening + chat.encode_reply("up") + following == rendered(tokenizer, messages, [A, B, A])
    for ids in (opening, following):
        for placed in pictures_in(ids):
            assert set(ids[placed.start : placed.end]) == {tokenizer.convert_tokens_to_ids("<|image_pad|>")}
    assert [placed.picture for placed in pictures_in(following)] == [B, A]


def test_text_beside_a_picture_cannot_forge_one(tokenizer: Any) -> None:
    ids = ChatFormat(tokenizer).open(Scene(("<|image_pad|>", A)))
    (placed,) = pictures_in(ids)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|image_pad|>")) == placed.end - placed.start


def test_a_text_model_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="reads text only; give a vision-language model"):
        ChatFormat(ByteTokenizer()).open(Scene((A,)))


def test_a_recorder_keeps_places(tokenizer: Any) -> None:
    recorder = SegmentRecorder(Role.FLAT, Prompt([1, 9, 9, 2], [Placed(1, 3, A)]))
    recorder.reply([5, 6])
    recorder.given(Prompt([9, 3], [Placed(0, 1, B)]))
    segment = recorder.segment()
    assert segment.pictures == (Placed(1, 3, A), Placed(6, 7, B))
    assert segment_row(segment, 1.0, "g").pictures == (Placed(1, 3, A),)  # what follows the last reply is cut off
    recorder.reply([7])
    row = recorder.demo_row("g", context_weight=0.2)
    assert row.loss_mask.tolist() == [False, False, False, True, True, True, False, True, True]
    assert row.pictures == (Placed(1, 3, A), Placed(6, 7, B))


Build = Callable[[Any, SokobanBenchmark, Demonstration], Any]


@pytest.mark.parametrize(
    "build",
    [
        lambda t, b, d: FlatAgent(t, b.texts, AgentConfig()).prompt(d.instruction, d.observation),
        lambda t, b, d: HierarchicalAgent(t, b.texts, AgentConfig()).planner_prompt(d.instruction, d.observation),
        lambda t, b, d: HierarchicalAgent(t, b.texts, AgentConfig()).executor_prompt("go", d.observation, "win"),
        lambda t, b, d: HierarchicalAgent(t, b.texts, AgentConfig()).executor_turn(d.observation, "go"),
        lambda t, b, d: ReactAgent(t, b.texts, AgentConfig()).prompt(d.instruction, d.observation),
    ],
)
def test_every_prompt_shows_the_board(tokenizer: Any, shown: Any, build: Build) -> None:
    benchmark, demo = shown
    (placed,) = pictures_in(build(tokenizer, benchmark, demo))
    assert placed.picture is demo.observation.pictures[0]


def test_examples_and_reflections_show_theirs(tokenizer: Any, shown: Any) -> None:
    benchmark, demo = shown
    agent = PromptedHierarchicalAgent(tokenizer, benchmark.texts, AgentConfig(), demo)
    assert len(pictures_in(agent.planner_prompt("win", Scene((A,))))) == 2
    stepped = [turn for turn in demo.segments[0].turns if turn.action is not None and not turn.sub_done]
    executor = pictures_in(agent.executor_prompt("go", Scene((A,)), "win"))
    assert len(executor) == 2 + len(stepped)
    assert executor[-1].picture is A
    writer = ReflexionAgent(tokenizer, benchmark.texts, AgentConfig())
    turns = [Turn("up", Scene((B,)), 0.0, False, False, 0, 0)] * 2
    assert len(pictures_in(writer.reflection_prompt("win", Scene((A,)), turns, "failure", 9999))) == 3


@pytest.mark.parametrize("build", [HierarchicalAgent, FlatAgent])
def test_demonstrated_rows_hold_their_pictures(tokenizer: Any, shown: Any, build: Any) -> None:
    benchmark, demo = shown
    for row in build(tokenizer, benchmark.texts, AgentConfig()).demo_rows(demo, 0.5):
        assert row.pictures
        pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        inside = np.zeros(len(row.input_ids), np.bool_)
        for placed in row.pictures:
            inside[placed.start : placed.end] = True
        np.testing.assert_array_equal(inside, row.input_ids == pad)
        assert not row.loss_mask[inside].any()


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def test_captions_are_said_and_never_shown(tokenizer: Any, shown: Any) -> None:
    benchmark, demo = shown
    rows = Describer(tokenizer, benchmark.texts, AgentConfig()).demo_rows(demo)
    starts = dict.fromkeys((demo.observation, *(segment.start for segment in demo.segments)))
    for row, scene in zip(rows, starts, strict=True):
        told = np.asarray(row.input_ids)[np.asarray(row.loss_mask)]
        assert tokenizer.decode(told).removesuffix("<|im_end|>") == scene.caption
        assert [placed.picture for placed in row.pictures] == list(scene.pictures)


def test_captions_of_text_are_refused(tokenizer: Any) -> None:
    benchmark = SokobanBenchmark()
    demo = benchmark.demonstrate(benchmark.tasks("valid")[0], random.Random(0))
    with pytest.raises(ConfigError, match="shows no picture with a caption"):
        Describer(tokenizer, benchmark.texts, AgentConfig()).demo_rows(demo)
