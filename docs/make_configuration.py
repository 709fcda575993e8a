"""Writes docs/configuration.md from the configuration tree: `python docs/make_configuration.py`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from himac.config import ALGORITHMS, ENGINES, AlgoConfig, Config, EngineConfig, algorithm_settings, engine_settings
from himac.renamed import RENAMED

TARGET = Path(__file__).with_name("configuration.md")

INTRODUCTION = """\
# Configuration

This page is written by `python docs/make_configuration.py`. Do not edit it by hand.

A run is described by one YAML file. Every key has a default, so a file names only what differs. Keys can also be set on
the command line, after the file:

    himac train my.yaml train.iterations=20 seed=1 algo.num_blueprints=4

A value is read as YAML. An unknown key, a wrong type or a value out of range is refused with a sentence that names the
key. The whole tree is saved as `config.yaml` in the run directory.

`algo` has one set of keys for each algorithm and `engine` one for each engine, chosen by `algo.name` and `engine.name`.
`agent.name` follows from the algorithm and `warmstart.formats` from the agent, unless they are given. On the command
line `algo.name=grpo` or `engine.name=local` chooses another one than the file's: keys of the file that the chosen one
does not have are left out with a note, and so are the agent of another algorithm and the demonstrations in its format.

Former names are understood for one version, with a warning that names the present ones: {renamed}.
"""

MEANINGS = {
    "seed": "Every random draw of the run derives from it.",
    "threads": "CPU threads of PyTorch. Null leaves the choice to PyTorch.",
    "model.path": "Hugging Face model directory to start from. Empty: `train` makes a model and warm-starts it first.",
    "model.dtype": "Number type of the weights, for sampling and for training.",
    "model.device": "Where the model runs. `auto` takes a GPU when there is one.",
    "model.lora.rank": "Of the two factors of each adapted matrix.",
    "model.lora.alpha": "The adapter is scaled by `alpha / rank`.",
    "model.lora.dropout": "Share of the adapter's inputs that an update leaves out.",
    "model.lora.targets": "Layers with an adapter: names, or every linear layer of the decoder.",
    "model.lora.modules_to_save": "Modules that are trained whole beside it, such as `[norm]`.",
    "engine.name": "`local` loads `model.path`, `vllm` samples with it through vLLM (see vllm.md), `openai` asks "
    "a chat endpoint (see prompting.md).",
    "engine.cache_tokens": "Tokens whose keys and values are kept, of all episodes together: at least one context. "
    "Requests that do not fit wait, and a younger one gives its place up to an older one, to be encoded again later. "
    "Null: what the free memory holds.",
    "engine.model": "The model's name at the endpoint.",
    "engine.base_url": "Address of the endpoint. Empty: the variable `OPENAI_BASE_URL`, else OpenAI's own.",
    "engine.key_variable": "Environment variable that holds the key. The key is never logged or saved.",
    "engine.concurrency": "Requests under way at once.",
    "engine.timeout_s": "Seconds until a request without a whole answer is tried again.",
    "engine.max_tries": "Tries of a request. Its episode ends as `engine_error` after the last.",
    "engine.max_wait_s": "Longest pause between tries. A request that is asked to wait longer is given up.",
    "engine.max_context": "Longest context, three bytes of text to a token.",
    "engine.logprobs": "Ask for the log-probabilities of the reply.",
    "engine.length_field": "The endpoint's name for the longest reply.",
    "engine.omit": "Fields the endpoint does not take, for example `[seed, temperature]`.",
    "engine.extra": "Further fields of every request.",
    "engine.gpu_share": "Share of the GPU's memory that vLLM may take; the learner needs the rest.",
    "engine.cache_gib": "GiB for the cache of keys and values. Null: what `gpu_share` leaves, 1 on a CPU.",
    "engine.compile": "Let vLLM compile the model, and use CUDA graphs. Null: on a GPU only.",
    "engine.start_timeout_s": "Seconds until a vLLM that is not ready is given up.",
    "engine.silence_s": "Seconds without any answer after which the run ends.",
    "engine.options": "Further arguments of vLLM's `AsyncEngineArgs`, for example `{tensor_parallel_size: 2}`.",
    "engine.price_in": "Price of a million prompt tokens. Null: no cost is reported.",
    "engine.price_out": "Price of a million reply tokens.",
    "init.vocab_size": "Most tokens of the new tokenizer.",
    "init.hidden_size": "Width of the model.",
    "init.layers": "Transformer layers.",
    "init.heads": "Attention heads.",
    "init.kv_heads": "Key and value heads. Fewer than `init.heads` is grouped-query attention.",
    "init.intermediate": "Width of the feed-forward part. Null chooses it from the hidden size.",
    "init.lookup_heads": "Start with attention heads that copy from the context (see adr/0004-lookup-heads.md).",
    "init.max_position": "Longest context of the new model, in tokens.",
    "init.tokenizer_games": "Training tasks whose demonstrations train the tokenizer.",
    "init.vision.patch_size": "Side of a patch in pixels.",
    "init.vision.merge_size": "Patches side by side that make one token.",
    "init.vision.hidden_size": "Width of the vision tower.",
    "init.vision.layers": "Its transformer layers.",
    "init.vision.heads": "Its attention heads. The width is a multiple of 4 times their number.",
    "init.vision.intermediate": "Width of its feed-forward part.",
    "init.vision.max_pixels": "Pictures of more pixels are scaled down.",
    "env.name": "Benchmark: `alfworld`, `chores`, `sokoban`, `webshop`, an installed one, `<module>:<class>`, or "
    "`gym:<Gymnasium id>`.",
    "env.kwargs": "Arguments of the benchmark. Those of ALFWorld are in alfworld.md.",
    "env.train_split": "Split of training, of demonstrations and of the tokenizer.",
    "env.eval_split": "Split of evaluation.",
    "env.step_limit": "Environment steps of an episode. A failure counts the steps not taken as bad ones.",
    "env.invalid_penalty": "Reward of an action that the environment rejects. A failed episode pays it for every step "
    "of the limit, so that neither quitting nor failing slowly nor failing tidily pays.",
    "env.workers": "Processes that run environments. 0 runs them in this process.",
    "env.overlap": "Steps of the local engine that an environment may work beside. 0: the engine waits after each "
    "step. 2 is faster with `env.workers` and environments that need a millisecond or more.",
    "env.timeout_s": "Seconds an environment may take to answer before its episode ends as `env_error`.",
    "env.max_observation_chars": "Characters after which the texts of an environment are cut.",
    "agent.name": "`hierarchical` is planner and executor in one model, `flat` one policy, `hiper` one that keeps or "
    "switches. `plain`, `react` and `reflexion` prompt a model that was not trained. By default the agent that the "
    "algorithm trains.",
    "agent.style": "`prompting` gives the hierarchical and the flat agent full instructions, for untrained models.",
    "agent.prompting.instructions": "Said before the benchmark's own rules.",
    "agent.prompting.example": "Show a solved training task, by the benchmark's demonstrator.",
    "agent.prompting.admissible": "List the admissible actions with every observation, where the environment has them.",
    "agent.prompting.max_tokens": "Longest reply of every role, in place of the role's own limit.",
    "agent.prompting.trials": "Trials at a task (Reflexion).",
    "agent.prompting.memory": "Newest reflections that are shown in a trial (Reflexion).",
    "agent.max_context": "Longest context of a segment, in tokens. No more than the model allows is used.",
    "agent.failure_penalty": "Added to the return of every failed episode.",
    "agent.planner.sees_observation": "Show the first observation to the planner.",
    "agent.planner.max_subgoals": "A longer blueprint is malformed.",
    "agent.planner.max_tokens": "Longest blueprint, in tokens. One that is cut off is malformed.",
    "agent.planner.temperature": "Sampling temperature in training. Must equal the executor's.",
    "agent.executor.sees_task": "Show the whole task to the executor, not only the sub-goal.",
    "agent.executor.repeat_subgoal": "Repeat the sub-goal after every observation.",
    "agent.executor.step_limit": "Steps allowed on one sub-goal. The episode fails beyond.",
    "agent.executor.max_tokens": "Longest reply, in tokens.",
    "agent.executor.temperature": "Sampling temperature in training. Must equal the planner's.",
    "agent.executor.failure_keywords": "An observation with one of these texts ends the episode.",
    "agent.executor.max_repeats": "The same rejected action so often in a row ends the episode. 0 never does.",
    "agent.executor.sub_done": "The executor ends sub-goals itself. False: each gets exactly `step_limit` steps.",
    "agent.flat.thoughts": "Demonstrations write sub-goals as thoughts before actions.",
    "agent.flat.repeat_task": "Repeat the task after every observation.",
    "agent.flat.max_tokens": "Longest reply, in tokens.",
    "agent.flat.temperature": "Sampling temperature in training.",
    "agent.flat.max_repeats": "As for the executor.",
    "agent.hiper.restate": "Demonstrated KEEP replies repeat the sub-goal.",
    "agent.hiper.repeat_task": "As for the flat agent.",
    "agent.hiper.max_tokens": "Longest reply, in tokens.",
    "agent.hiper.temperature": "Sampling temperature in training.",
    "agent.hiper.max_repeats": "As for the executor.",
    "algo.name": "The algorithm: `himac` or `himac-plus` for the hierarchical agent, `hiper` for its own, the others "
    "for the flat one.",
    "algo.tasks": "Tasks of an iteration.",
    "algo.num_blueprints": "Blueprints sampled for each task: G of the paper.",
    "algo.num_rollouts": "Executions sampled of the chosen blueprint: M of the paper; in `himac-plus` of each one.",
    "algo.plan_every": "The planner is trained in one of this many iterations.",
    "algo.group_size": "Episodes sampled for each task.",
    "algo.std": "Standard deviation that divides the centred returns. `none` does not divide.",
    "algo.blueprint_selection": "Which blueprint is executed in phase B: the `best`, a `random` one (ablation), or by "
    "`learnability` that whose sampled executions have the largest p (1 - p), p their share of successes.",
    "algo.hierarchy": "False: flat GRPO over the flat agent, in groups of `num_rollouts` episodes (ablation).",
    "algo.co_evolution": "Update after each phase. False: one joint update of both roles (ablation).",
    "algo.resample": "Times groups with equal returns give way to groups of other tasks. 0 keeps them.",
    "algo.resample_executions": "Times phase-B groups with equal returns give way to executions of the task's next "
    "blueprint. 0 keeps them.",
    "algo.branches": "Further ends sampled for each task with a failed execution, from the end of the sub-goal of "
    "which it is least certain whether it leads to success. Without snapshots of the environment the steps before it "
    "are taken, and counted, again.",
    "algo.score_executions": "Score a blueprint by the mean of this many sampled executions. 0: by the greedy one.",
    "algo.step_weight": "Weight of the step-level advantage: GiGPO's, in HiMAC that of phase B, in `himac-plus` by "
    "values over the graph of visited states. 0 is off.",
    "algo.gamma": "Discount of the returns from a step on.",
    "algo.step_std": "As `algo.std`, for steps in the same state.",
    "algo.similarity": "Least similarity of observations that count as the same state. Null: they must be equal.",
    "algo.statistics": "Mean and deviation of a group are over its `trajectories`, or over all their turns (`rows`).",
    "algo.heads": "Value heads: of actions, and with two of sub-goals, with three of switch decisions.",
    "algo.lam_turn": "Lambda over the turns of a sub-goal. 1 trusts the rewards, 0 the critic.",
    "algo.lam_seg": "Lambda over sub-goals.",
    "algo.keep_penalty": "Reward of a turn that keeps its sub-goal.",
    "algo.keep_penalty_mode": "`normalized` divides the penalty by the turns of the episode.",
    "algo.consistency_penalty": "Reward of a turn that keeps its sub-goal and names another one.",
    "algo.normalise": "Give the advantages of each level mean 0 and variance 1.",
    "algo.lam": "Lambda of generalised advantage estimation. 1 trusts the rewards, 0 the critic.",
    "algo.whiten": "Give the advantages of an update mean 0 and variance 1.",
    "algo.reward_kl": "Weight of a KL penalty (k1) in the rewards, beside that of `train.learner.kl_coef` in the loss.",
    "algo.require_positive": "Leave out tasks whose best blueprint has no positive return in phase B.",
    "warmstart.games": "Demonstrated training tasks. Null takes all.",
    "warmstart.passes": "Demonstrations of each task.",
    "warmstart.batch_tokens": "Tokens of an optimiser step.",
    "warmstart.optimizer": "`muon` for the hidden matrices with AdamW for the rest, or `adamw` for all.",
    "warmstart.lr": "Peak learning rate. It falls to zero along a line.",
    "warmstart.weight_decay": "Decoupled weight decay of matrices.",
    "warmstart.warmup_fraction": "Share of the steps in which the learning rate rises.",
    "warmstart.formats": "Agents whose formats are taught; `captions` teaches to say what a picture shows. By "
    "default the agent that is trained.",
    "warmstart.context_weight": "Weight of predicting prompts and observations, beside 1 for replies.",
    "warmstart.keep_success_only": "Leave out demonstrations that did not solve their task.",
    "warmstart.freeze_vision": "As `train.learner.freeze_vision`. A tower from scratch has to learn here.",
    "warmstart.checkpoint_steps": "Steps between checkpoints, from which a killed warm start goes on.",
    "train.iterations": "Iterations of the run.",
    "train.env_steps": "Stop after the iteration in which this many environment steps are reached. Null: no limit.",
    "train.learner.optimizer": "As in `warmstart.optimizer`.",
    "train.learner.lr": "Peak learning rate.",
    "train.learner.betas": "Of AdamW.",
    "train.learner.weight_decay": "Decoupled weight decay of matrices.",
    "train.learner.warmup_steps": "Optimiser steps in which the learning rate rises.",
    "train.learner.schedule": "What follows. `linear` and `cosine` reach zero at the last iteration, or when "
    "`train.env_steps` are spent.",
    "train.learner.max_grad_norm": "Longer gradients are scaled down to this norm.",
    "train.learner.mini_batches": "Optimiser steps of an epoch. Rows are split evenly.",
    "train.learner.epochs": "Passes over the rows of an update.",
    "train.learner.max_tokens_per_microbatch": "Bounds memory. The result does not depend on it.",
    "train.learner.clip_low": "Lower clip range of the importance ratio.",
    "train.learner.clip_high": "Upper clip range of the importance ratio.",
    "train.learner.dual_clip": "Bounds the loss where the advantage is negative. Null is off.",
    "train.learner.ratio": "Importance ratio of each token, or the geometric mean over the row.",
    "train.learner.aggregation": "How token losses become one loss.",
    "train.learner.kl_kind": "Estimator of the KL divergence from the starting model.",
    "train.learner.kl_coef": "Weight of the KL term. 0 keeps no reference model.",
    "train.learner.entropy_coef": "Weight of an entropy bonus.",
    "train.learner.aggregation_horizon": "Divides the sum of `seq-mean-token-sum-norm`: the longest row's tokens.",
    "train.learner.target_kl": "KL divergence that an update may move the policy by; with a falling `schedule` it "
    "falls with the square of the rate. The update ends before a step at which it has moved half as far again. The "
    "rate falls by a third after an update that went further than this, and rises by a tenth after one that went less "
    "than a third of it. Null: off.",
    "train.learner.apart": "Train the rows of each role one role after the other, each with an optimiser state, a "
    "warm-up and a rate of its own.",
    "train.learner.roles": "With `apart`: what differs for `planner`, `executor` or `flat`, for example "
    "`{planner: {lr_scale: 0.5, epochs: 1, mini_batches: 2}}`.",
    "train.learner.credit": "How tokens share an advantage: alike, or by `dgpo` (needs `kl_coef=0`).",
    "train.learner.correction": "Truncated importance sampling for a sampler that is not quite the policy, per `token` "
    "or `sequence` (a row). For `engine.name=vllm`, see vllm.md.",
    "train.learner.correction_cap": "Largest weight of the correction.",
    "train.learner.credit_temperature": "Of `dgpo`. Higher is closer to `uniform`.",
    "train.learner.value_coef": "Weight of the critic's squared error. The critic belongs to methods that have one.",
    "train.learner.value_clip": "Keeps a value near the one it had at sampling time. Null is off.",
    "train.learner.value_detach": "The critic leaves the policy's layers alone. False: large errors shrink their step.",
    "train.learner.value_lr": "Learning rate of the critic's own layer, as a multiple of `lr`.",
    "train.learner.value_warmup": "Updates at the start in which the critic's own layer alone is trained.",
    "train.learner.precision": "Of the update. `bf16` is autocast: the weights stay as they are. `auto`: if fast here.",
    "train.learner.gradient_checkpointing": "Compute every n-th layer again in the backward pass instead of keeping "
    "what it computed: 1 for each of them. A third more time for a fraction of the memory. 0 is off.",
    "train.learner.loss_chunk": "Tokens whose logits exist at once. The result does not depend on it. Null: as many as "
    "fit into half a gigabyte.",
    "train.learner.offload_reference": "Keep the reference model in the memory of the CPU while it is not asked.",
    "train.learner.freeze_vision": "Leave the vision tower of a model that sees pictures as it is.",
    "train.eval_every": "Iterations between evaluations. 0 evaluates at the end only.",
    "train.eval_tasks": "Tasks of an evaluation, the same in every run. Null takes the whole split.",
    "train.checkpoint_every": "Iterations between checkpoints.",
    "train.checkpoint_phases": "Also save between the phases of an iteration.",
    "train.keep_checkpoints": "Newest checkpoints that are kept.",
    "train.trackers": "Who is told of the run: `tensorboard`, `wandb`, `mlflow`, `trackio` (see report.md).",
    "train.record_episodes": "Share of the groups whose training episodes are kept (see report.md). 0: none.",
    "train.max_live": "Episodes under way at once, in each process.",
    "train.rollout_workers": "Processes that run episodes side by side, for small models on a CPU.",
    "eval.temperature": "0 is greedy.",
    "eval.repeats": "Times `himac eval` runs every task in this one setting.",
    "eval.max_live": "Episodes under way at once in `himac eval`.",
}

_BOUNDS = {Gt: (">", "gt"), Ge: (">=", "ge"), Lt: ("<", "lt"), Le: ("<=", "le")}


def sections(node: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every part of the tree with its dotted name, in the order of the file."""
    yield prefix, node
    for name, field in node.model_fields.items():
        for part in models(field):
            yield from sections(part, f"{prefix}.{name}" if prefix else name)


def models(field: FieldInfo) -> list[type[BaseModel]]:
    """The classes of a section, none for a plain value and several for a choice."""
    if field.annotation is EngineConfig:
        return [engine_settings(name) for name in ENGINES.builtin]
    if field.annotation is AlgoConfig:
        return [algorithm_settings(name) for name in ALGORITHMS.builtin]
    parts = get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def values(annotation: Any, bounds: list[Any]) -> str:
    """What a key accepts, in words."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return values(inner, [*bounds, *(m for one in extra for m in getattr(one, "metadata", ()))])
    if _is_union(annotation):
        return " or ".join(values(part, bounds if part is not type(None) else []) for part in get_args(annotation))
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        parts = get_args(annotation)
        return f"list of {values(parts[0], [])}" if parts[-1] is ... else f"{len(parts)} x {values(parts[0], [])}"
    name = {int: "integer", float: "number", bool: "true, false", str: "text"}.get(annotation, "mapping")
    limits = [f"{sign} {getattr(m, attribute):g}" for m in bounds for kind, (sign, attribute) in _BOUNDS.items()
              if isinstance(m, kind)]  # fmt: skip
    return " ".join([name, " and ".join(limits)]).strip()


def spelled(value: Any) -> str:
    """A default as it stands in a YAML file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(spelled(one) for one in value)}]"
    return '""' if value == "" else str(value)


def render() -> str:
    """The page.

    Raises:
        KeyError: a key of the tree has no entry in `MEANINGS`.
    """
    lines = [INTRODUCTION.format(renamed=", ".join(f"`{old}` is `{new}`" for old, new in RENAMED.items()))]
    for prefix, node in sections():
        rows = []
        for name, field in node.model_fields.items():
            if models(field):
                continue
            key = f"{prefix}.{name}" if prefix else name
            default = spelled(field.get_default(call_default_factory=True))
            accepted = values(field.annotation, list(field.metadata))
            rows.append(f"| `{key}` | `{default}` | {accepted} | {MEANINGS[key]} |")
        own = f"{prefix} ({node.model_fields['name'].default})" if prefix in ("algo", "engine") else prefix
        title = own or "top level"
        lines.append(f"## {title}\n\n{' '.join((node.__doc__ or '').partition('Attributes:')[0].split())}\n")
        if rows:
            lines.append("\n".join(["| key | default | values | meaning |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(lines)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET}")
