"""The learner on rows with pictures: the scores of a plain forward, and gradients where they are wanted."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from himac.errors import TrainingError
from himac.models.policy import Policy
from himac.models.vision import vision_tower
from himac.training.forward import score_tokens
from himac.training.learner import Learner
from himac.training.packing import check_rows, pack
from himac.types import Row
from support.tiny_vision import ARCHITECTURES, load_spread, picture, picture_row, plain_logprobs, write_model
from support.training_rows import learner_config

Loaded = tuple[Any, Any]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load_spread(write_model(tmp_path_factory.mktemp("models"), request.param))


@pytest.fixture
def model(loaded: Loaded) -> Any:
    return copy.deepcopy(loaded[0])


@pytest.fixture
def rows(loaded: Loaded) -> list[Row]:
    """Ragged rows with no, one and several pictures, one of them in two rows and one twice in a row."""
    parts = (
        (9,),
        (3, picture(1), 6),
        (14, picture(2, 16, 16), 2, picture(3, 40, 24), 5),
        (5,),
        (2, picture(1), 3, picture(4), 1, picture(1), 4),
    )
    return [picture_row(loaded[1], one, seed, advantage=1.0 + seed) for seed, one in enumerate(parts)]


def plain_scores(model: Any, row: Row) -> torch.Tensor:
    """Of the trained tokens, by the model's own forward."""
    return plain_logprobs(model, row.input_ids.tolist(), row.pictures)[torch.from_numpy(row.loss_mask[1:].copy())]


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_packed_scores_are_those_of_a_plain_forward(model: Any, rows: list[Row], budget: int) -> None:
    found: dict[int, torch.Tensor] = {}
    for batch in pack(rows, budget):
        with torch.no_grad():
            found.update(zip(batch.indices, batch.split(score_tokens(model, batch).logprob_M), strict=True))
    for number, row in enumerate(rows):
        with torch.no_grad():
            expected = plain_scores(model, row)
        torch.testing.assert_close(found[number], expected, atol=1e-4, rtol=0)


def test_gradients_are_those_of_plain_forwards(model: Any, rows: list[Row]) -> None:
    other = copy.deepcopy(model)
    (batch,) = pack(rows, 10_000)
    score_tokens(model, batch).logprob_M.sum().backward()
    sum(plain_scores(other, row).sum() for row in rows).backward()  # type: ignore[union-attr]
    touched = 0
    for (name, mine), (_, theirs) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if theirs.grad is not None:
            scale = float(theirs.grad.abs().max()) + 1e-6
            assert float((mine.grad - theirs.grad).abs().max()) < 2e-3 * scale, name
            touched += "visual" in name and bool(theirs.grad.any())
    assert touched > 10  # the vision tower learns


def tower(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in vision_tower(model).named_parameters()}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("supervised", [True, False])
def test_the_tower_moves_unless_it_is_frozen(model: Any, rows: list[Row], frozen: bool, supervised: bool) -> None:
    before, words = tower(model), model.get_input_embeddings().weight.detach().clone()
    learner = Learner(
        Policy(model), learner_config(lr=1e-3, kl_coef=0.0, freeze_vision=frozen, max_tokens_per_microbatch=80)
    )
    metrics = learner.supervised(rows) if supervised else learner.update(rows)
    assert np.isfinite(metrics["loss"])
    moved = [name for name, value in tower(model).items() if not torch.equal(value, before[name])]
    assert bool(moved) != frozen
    assert not torch.equal(model.get_input_embeddings().weight, words)


def test_muon_and_a_reference_work_with_pictures(model: Any, rows: list[Row]) -> None:
    config = learner_config(lr=1e-3, kl_coef=0.1, optimizer="muon", freeze_vision=False)
    learner = Learner(Policy(model), config)
    first = learner.update(rows)
    assert first["kl"] == pytest.approx(0.0, abs=1e-5)  # nothing has moved yet
    assert learner.update(rows)["kl"] > 1e-6
    assert learner.reference is not None
    for row, found in zip(rows, learner.reference_logprobs(rows), strict=True):
        with torch.no_grad():
            expected = plain_scores(learner.reference, row).numpy()
        np.testing.assert_allclose(found[row.loss_mask], expected, atol=1e-4)


def test_supervised_training_learns_what_is_on_a_picture(loaded: Loaded) -> None:
    """Two rows with the same words before the reply, which only the picture decides."""
    model, tokenizer = copy.deepcopy(loaded[0]), loaded[1]
    rows = []
    for number, shade in enumerate((0, 255)):
        row = picture_row(tokenizer, (3, _plain_picture(shade), 3), seed=0)
        ids = row.input_ids.copy()
        ids[-1] = 20 + number
        mask = np.zeros(len(ids), np.bool_)
        mask[-1] = True
        rows.append(replace(row, input_ids=ids, loss_mask=mask, advantages=mask.astype(np.float32)))
    learner = Learner(Policy(model), learner_config(lr=3e-3, kl_coef=0.0, freeze_vision=False))
    losses = [learner.supervised(rows)["loss"] for _ in range(60)]
    assert losses[-1] < 0.1 < losses[0]  # below ln 2 / 2: both replies are right, so the pictures were seen


def _plain_picture(shade: int) -> Any:
    from himac.scene import Image

    return Image(np.full((16, 16, 3), shade, np.uint8))


def test_a_cut_through_a_picture_is_refused(rows: list[Row]) -> None:
    row = rows[1]
    placed = row.pictures[0]
    cut = replace(row, pictures=(placed.moved(len(row.input_ids)),))
    with pytest.raises(TrainingError, match="has a picture outside of its"):
        check_rows([cut])


def test_pictures_are_shared_by_rows(rows: list[Row]) -> None:
    assert rows[1].pictures[0].picture is rows[4].pictures[0].picture is rows[4].pictures[2].picture


def test_a_model_directory_keeps_what_was_learnt(loaded: Loaded, rows: list[Row], tmp_path: Path) -> None:
    from himac.models.loading import load_model
    from himac.training.checkpoint import save_model

    save_model(tmp_path / "saved", *loaded)
    again, tokenizer = load_model(tmp_path / "saved")
    assert tokenizer.picture_ids(picture(1)) == loaded[1].picture_ids(picture(1))
    with torch.no_grad():
        torch.testing.assert_close(plain_scores(again, rows[2]), plain_scores(loaded[0], rows[2]))
