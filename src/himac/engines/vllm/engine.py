"""Continuous batching by vLLM: token ids in, sampled ids and their log-probabilities out."""

from __future__ import annotations

import asyncio
import copy
import tempfile
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from himac.config import Config
from himac.engines.base import Completion, Engine, GenerateRequest
from himac.engines.pending import Pending
from himac.engines.vllm.mirror import Mirror
from himac.engines.vllm.server import Server
from himac.engines.vllm.settings import VllmConfig
from himac.errors import ConfigError, EndpointError, ModelError
from himac.models.forward import evaluating, packed_forward, project
from himac.models.policy import Policy, Weights
from himac.scene import Placed
from himac.seeding import derive_seed
from himac.types import FloatArray

if TYPE_CHECKING:
    from vllm import RequestOutput

_PROBE_TOKENS = 32
_GAPS = {torch.float32: 0.01}
_GAP = 0.3
"""Largest mean difference of log-probabilities on the probe, in nats; of other types than float32 the second.
Rounding makes 1e-5 and some 0.05; a tensor that was left as it is at the start makes several."""
_GIB = 2**30


class VllmEngine(Engine):
    """Samples with vLLM, in processes of its own on this machine.

    vLLM starts with meaningless weights; all that it knows of the policy it is given by `load_weights`. So the first
    hand-over is tried in full: one sequence is scored by both, and a model that vLLM computes differently is refused.

    Args:
        policy: Its configuration and tokenizer are those of vLLM.
        max_live: Requests that run at once; more wait.
        max_context: Longest context in tokens; no more than the model's own limit is used.
        seed: Of all draws. Seeds for single requests make vLLM slow, and end it (0.32, CPU) when it encodes a prompt in
            parts.
        threads: It computes with on a CPU; `None`: as many as the environment says.

    Raises:
        MissingDependencyError: vLLM is not installed.
        ModelError: it does not start, or does not compute what the policy does.
    """

    def __init__(
        self,
        settings: VllmConfig,
        policy: Policy,
        *,
        max_live: int = 64,
        max_context: int = 2048,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = policy.tokenizer
        text = policy.model.config.get_text_config()
        self.max_context = min(max_context, getattr(text, "max_position_embeddings", None) or max_context)
        self._vocabulary: int = policy.model.get_input_embeddings().weight.shape[0]
        self._serial = 0
        self._pending = Pending()
        self._heard = 0.0
        self._failure: Exception | None = None
        arguments = _arguments(settings, policy)
        with tempfile.TemporaryDirectory(prefix="himac-vllm-") as folder:
            _write(policy, Path(folder))
            self._server = Server(
                arguments
                | {"model": folder, "max_model_len": self.max_context, "max_num_seqs": max_live, "seed": seed},
                _environment(settings, arguments["enforce_eager"], threads),
                start_timeout_s=settings.start_timeout_s,
                timeout_s=settings.silence_s,
            )
        try:
            self._mirror = Mirror(policy.model.state_dict())
            self._server.call(self._server.transfer.begin(self._server.client))
            self._send(policy.version)
            self._compare(policy)
        except BaseException:
            self.close()
            raise

    @classmethod
    def build(cls, config: Config, policy: Policy | None, max_live: int) -> VllmEngine:
        """On a copy of the policy's weights."""
        assert policy is not None
        assert isinstance(config.engine, VllmConfig)
        if config.train.rollout_workers > 1:
            raise ConfigError(
                "train.rollout_workers above 1 is for the engine in this process; vLLM runs beside it, so set it to 1"
            )
        return cls(
            config.engine,
            policy,
            max_live=max_live,
            max_context=config.agent.max_context,
            seed=derive_seed(config.seed, "vllm", policy.version) % 2**31,
            threads=config.threads,
        )

    def submit(self, request: GenerateRequest) -> int:
        """Send a request.

        Raises:
            ModelError: a token is none of the model's, or there is a picture.
        """
        if request.pictures:
            raise ModelError("vLLM takes prompts of text only here; set engine.name=local for pictures")
        tokens = request.tokens(self._vocabulary)
        self._serial += 1
        serial = self._serial
        limit = min(request.params.max_new_tokens, self.max_context - len(tokens))
        if limit <= 0:
            self.kept.append((serial, Completion(request.id, (), (), (), "", finished=False, version=self.version)))
            return serial
        if not self._pending:
            self._heard = time.monotonic()
        answer = self._complete(serial, request, tokens, limit, self.version)
        self._pending.add(serial, request, self._server.submit(answer))
        return serial

    def step(self) -> list[tuple[int, Completion]]:
        """Wait a moment for what vLLM finishes and return it.

        Raises:
            EndpointError: vLLM is dead or silent. What it has finished is returned before.
            ModelError: it refuses a request.
        """
        done, self.kept = self.kept, []
        for serial, future in self._pending.finished(wait=not done and self._failure is None):
            self._heard = time.monotonic()
            try:
                done.append((serial, future.result()))
            except Exception as error:
                self._failure = self._failure or self._told(error)
        if self._pending and self._failure is None:
            if self._server.ended():
                self._failure = self._server.gone()
            elif time.monotonic() - self._heard > self._server.timeout_s:
                self._failure = self._server.silent()
        if self._failure is not None and not done:
            raise self._failure
        return done

    def release(self, session: Hashable) -> None:
        """Abort what the session still waits for. Its cached prefix stays until others need the room."""
        self._pending.release(session)

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        temperature: float = 1.0,
        pictures: Sequence[Sequence[Placed]] = (),
    ) -> list[FloatArray]:
        """Log-probability of each token given those before it, float32 [T] a sequence (0 for the first).

        Raises:
            ModelError: vLLM scores given tokens at temperature 1 only, text only, and leaves room for one more.
        """
        if temperature not in (0.0, 1.0) or any(pictures):
            raise ModelError("vLLM scores text at temperature 1 only; set engine.name=local for anything else")
        if any(len(sequence) >= self.max_context for sequence in sequences):
            raise ModelError(f"vLLM scores at most {self.max_context - 1} tokens here; raise agent.max_context")
        rows = [[int(token) for token in sequence] for sequence in sequences]

        async def score() -> list[FloatArray]:
            return await asyncio.gather(*(self._score(f"s{self._serial}-{n}", row) for n, row in enumerate(rows)))

        self._serial += 1
        return self._server.call(score())

    def load_weights(self, weights: Weights, version: int) -> None:
        """Replace weights in place and drop every cache. Requests under way go on with the new ones.

        Raises:
            ModelError: a tensor is none of the model's, or vLLM did not take over all of them.
        """
        if self._mirror.update(weights):
            self._send(version)
        else:
            self.version = version
            self.forget()

    def forget(self) -> None:
        """Drop the cached prefixes."""
        self._server.call(self._server.transfer.forget(self._server.client))

    def close(self) -> None:
        """Drop what is under way and end vLLM; further calls do nothing."""
        self._pending.cancel()
        self._server.close()
        if hasattr(self, "_mirror"):
            self._mirror.close()

    def _send(self, version: int) -> None:
        try:
            self._server.call(self._server.transfer.send(self._server.client, self._mirror, version))
        except EndpointError:
            raise
        except Exception as error:
            raise ModelError(
                f"vLLM did not take over the weights ({self._server.cause(error)}); continue with --resume, or set "
                "engine.name=local if that comes again"
            ) from error
        self.version = version

    def _compare(self, policy: Policy) -> None:
        """Score one sequence with both.

        Raises:
            ModelError: the log-probabilities differ by more than rounding.
        """
        model = policy.model
        count = min(_PROBE_TOKENS, self.max_context - 1)
        ids = np.random.default_rng(0).integers(0, self._vocabulary, count)
        tokens = torch.from_numpy(ids).to(model.device)
        with evaluating(model), torch.no_grad():
            logprobs = project(model, packed_forward(model, tokens, [count])).float().log_softmax(-1)
        own = logprobs[:-1].gather(1, tokens[1:, None])[:, 0].cpu().numpy()
        try:
            (found,) = self.score([ids.tolist()])
        except EndpointError as error:
            raise ModelError(
                f"vLLM cannot run this model ({self._server.said or error}); set engine.name=local"
            ) from error
        gap, limit = float(np.abs(found[1:] - own).mean()), _GAPS.get(model.dtype, _GAP)
        if not gap <= limit:
            raise ModelError(
                f"vLLM computes other log-probabilities than the model itself (they differ by {gap:.3g} on average, "
                f"{limit:g} is allowed), so it cannot sample for training; set engine.name=local"
            )

    def _told(self, error: Exception) -> Exception:
        if self._server.is_dead(error):
            return self._server.gone()
        return ModelError(f"vLLM refuses a request ({self._server.cause(error)}); set engine.name=local")

    # ---- on the thread of the server

    async def _complete(
        self, serial: int, request: GenerateRequest, tokens: list[int], limit: int, version: int
    ) -> Completion:
        params = request.params
        stop = list(params.stop)
        output = await self._ask(
            f"c{serial}",
            tokens,
            max_tokens=limit,
            temperature=params.temperature,
            top_p=params.top_p,
            stop=stop,
            stop_token_ids=list(params.stop_token_ids),
            detokenize=bool(stop),
            logprobs=0,
        )
        reply = output.outputs[0]
        new = tuple(reply.token_ids)
        assert reply.logprobs is not None
        logprobs = tuple(min(0.0, known[token].logprob) for token, known in zip(new, reply.logprobs, strict=True))
        text: str = self.tokenizer.decode(list(new), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        finished = reply.finish_reason == "stop"
        return Completion(request.id, new, logprobs, (True,) * len(new), text, finished, version=version)

    async def _score(self, name: str, tokens: list[int]) -> FloatArray:
        values = np.zeros(len(tokens), np.float32)
        if len(tokens) > 1:
            output = await self._ask(name, tokens, max_tokens=1, prompt_logprobs=0, detokenize=False)
            told = output.prompt_logprobs
            values[1:] = [told[place][token].logprob for place, token in enumerate(tokens) if place]
        return values

    async def _ask(self, name: str, tokens: list[int], **params: Any) -> RequestOutput:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        # The agent says what ends a reply: its own stop tokens, not those of the model's configuration.
        made = SamplingParams(
            ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY, **{"detokenize": False} | params
        )
        answers = self._server.client.generate({"prompt_token_ids": tokens}, made, name)
        return [answer async for answer in answers][-1]


def _arguments(settings: VllmConfig, policy: Policy) -> dict[str, Any]:
    """Of vLLM's `AsyncEngineArgs`: those that follow from settings and policy."""
    on_cpu = policy.model.device.type == "cpu"
    cache = settings.cache_gib or (1.0 if on_cpu else None)
    compiled = not on_cpu if settings.compile is None else settings.compile
    return {"disable_log_stats": True, **settings.options} | {
        "dtype": str(policy.model.dtype).removeprefix("torch."),  # it would choose one by itself
        "load_format": "dummy",
        "generation_config": "vllm",
        "trust_remote_code": False,
        "enforce_eager": not compiled,
        "logprobs_mode": "processed_logprobs",  # of the distribution that is drawn from
        "enable_prefix_caching": True,
        "gpu_memory_utilization": settings.gpu_share,
        "kv_cache_memory_bytes": None if cache is None else int(cache * _GIB),
    }


def _environment(settings: VllmConfig, eager: bool, threads: int | None) -> dict[str, str]:
    """Variables for vLLM."""
    variables = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork of a process with threads may hang
        "VLLM_ENGINE_READY_TIMEOUT_S": str(int(settings.start_timeout_s) + 1),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the learner needs the cores too
    }
    if eager:
        variables["TORCH_COMPILE_DISABLE"] = "1"  # of the sampler, which takes half a minute
    if threads is not None:
        variables["OMP_NUM_THREADS"] = str(threads)
    return variables


def _write(policy: Policy, folder: Path) -> None:
    """What vLLM needs of a model besides its weights."""
    config = copy.deepcopy(policy.model.config)
    config.architectures = [type(policy.model).__name__]  # a model that was never saved has none
    config.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
