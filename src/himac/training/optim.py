"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

OptimizerKind = Literal["adamw", "muon"]
ScheduleKind = Literal["constant", "linear", "cosine"]

# Quintic Newton-Schulz coefficients (Keller Jordan, "Muon: an optimizer for hidden layers", 2024).
_NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NS_STEPS = 5
# Beside Muon, AdamW has the large learning rate of embeddings. A convolution that turns a patch of a picture into a
# vector adds up a thousand inputs that go together, so its rate is divided by their number over this.
_PATCH_INPUTS = 32
# Makes the RMS of a Muon update that of an AdamW update, so that both share one learning rate (Liu et al. 2025).
_MUON_RMS = 0.2
# Matrices of one shape are orthogonalised together, up to this many elements at a time.
_MUON_STACK_ELEMENTS = 1 << 26


def lr_at(
    step: int,
    *,
    lr: float,
    warmup_steps: int = 0,
    total_steps: int | None = None,
    schedule: ScheduleKind = "constant",
    final_fraction: float = 0.0,
    elapsed: float = 0.0,
) -> float:
    """Learning rate of an optimiser step.

    Rises linearly over `warmup_steps` (step 0 already moves), then stays `constant`, or falls to `final_fraction`
    of `lr` at `total_steps`, in a `linear` or `cosine` way, and stays there.

    Args:
        step: Number of steps taken before this one.
        lr: Peak learning rate.
        warmup_steps: Steps below the peak at the start.
        total_steps: Step at which the fall ends.
        schedule: What follows the warm-up.
        final_fraction: Share of `lr` at the end of the fall.
        elapsed: Share of the run that is over by another measure (environment steps); the fall is at least that far.
    """
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return lr
    if total_steps is None:
        raise ValueError(f"a {schedule} schedule needs total_steps; set it or use 'constant'")
    progress = min(1.0, max(elapsed, (step - warmup_steps) / max(1, total_steps - warmup_steps)))
    if schedule == "linear":
        share = 1.0 - progress
    elif schedule == "cosine":
        share = 0.5 * (1.0 + math.cos(math.pi * progress))
    else:
        raise ValueError(f"unknown schedule {schedule!r}; use 'constant', 'linear' or 'cosine'")
    return lr * (final_fraction + (1.0 - final_fraction) * share)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Newton-Schulz approximation of U V^T for each matrix U S V^T; singular values end in about [0.7, 1.2].

    Args:
        matrices: float [..., rows, columns].

    Returns:
        The same shape, in bfloat16 where that is fast, otherwise in float32.
    """
    x = matrices.to(_matmul_dtype(matrices.device))
    transposed = x.shape[-2] > x.shape[-1]
    if transposed:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _NS_COEFFICIENTS
    for _ in range(_NS_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    result: Tensor = x.mT if transposed else x
    return result


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised; for the hidden matrices of a network only."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon takes matrices only; give other parameters to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure; compute the gradient before step()")
        for group in self.param_groups:
            stacks: dict[tuple[torch.Size, torch.device, torch.dtype], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    stacks.setdefault((p.shape, p.device, p.dtype), []).append(p)
            for (shape, _, _), params in stacks.items():
                size = max(1, _MUON_STACK_ELEMENTS // shape.numel())
                for start in range(0, len(params), size):
                    self._step_stack(params[start : start + size], group)

    def _step_stack(self, params: list[Tensor], group: dict[str, Any]) -> None:
        directions = []
        for p in params:
            assert p.grad is not None
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1.0 - group["momentum"])
            directions.append(p.grad.lerp(buffer, group["momentum"]))  # Nesterov
        updates = orthogonalize(torch.stack(directions))
        scale = group["lr"] * _MUON_RMS * math.sqrt(max(params[0].shape))
        for p, update in zip(params, updates, strict=True):
            p.mul_(1.0 - group["lr"] * group["weight_decay"])
            p.add_(update.to(p.dtype), alpha=-scale)


class OptimizerSet:
    """Several optimisers with disjoint parameters that act as one.

    Attributes:
        members: The optimisers by name.
        masters: Parameters of a lower precision than float32, each with the float32 copy that is trained in its
            place: a small step would be lost in rounding, many of them would not.
    """

    def __init__(
        self, members: dict[str, torch.optim.Optimizer], masters: Sequence[tuple[Tensor, Tensor]] = ()
    ) -> None:
        self.members, self.masters = members, masters

    @property
    def parameters(self) -> list[Tensor]:
        """Everything that is trained."""
        return [p for member in self.members.values() for group in member.param_groups for p in group["params"]]

    def set_lr(self, lr: float) -> None:
        """Use `lr` from the next step on, times `lr_scale` in groups that have one."""
        for member in self.members.values():
            for group in member.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)

    def accumulate(self) -> None:
        """Move the gradients of a backward pass into those of the masters, in whose precision they add up."""
        for p, master in self.masters:
            if p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.accumulate()
        for member in self.members.values():
            member.step()
        for p, master in self.masters:
            p.copy_(master)
        # Fused optimisers write without saying so, and features of pictures are cached by these versions.
        for p in self.parameters:
            torch.autograd.graph.increment_version(p)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for member in self.members.values():
            member.zero_grad(set_to_none=True)
        for p, _ in self.masters:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: member.state_dict() for name, member in self.members.items()}
        return state | ({"masters": [master.detach() for _, master in self.masters]} if self.masters else {})

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        expected = {*self.members, *(["masters"] if self.masters else [])}
        if state.keys() != expected:
            raise ValueError(
                f"the saved optimiser has the parts {sorted(state)}, this one {sorted(expected)}; "
                "resume with the same optimiser and model.dtype"
            )
        for name, member in self.members.items():
            member.load_state_dict(state[name])
            for p, kept in member.state.items():
                if any(isinstance(part, Tensor) and part.dim() and part.shape != p.shape for part in kept.values()):
                    raise ValueError(f"the saved optimiser has no state of the shape {tuple(p.shape)}")
        for (p, master), saved in zip(self.masters, state.get("masters", ()), strict=True):
            p.copy_(master.copy_(saved))


def make_optimizer(
    model: nn.Module,
    kind: OptimizerKind = "adamw",
    lr: float = 1e-4,
    *,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.95,
) -> OptimizerSet:
    """AdamW for everything, or Muon for the hidden matrices and AdamW for embeddings, norms, biases and the head.

    Parameters of a lower precision are trained through float32 copies.

    Args:
        model: Parameters without `requires_grad` are left out; shared ones count once.
        kind: `adamw` or `muon`.
        lr: Learning rate of all parts; beside Muon a convolution's is divided by its width.
        betas: Of AdamW.
        eps: Of AdamW.
        weight_decay: Decoupled, on matrices only.
        momentum: Of Muon.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise ValueError("the model has no trainable parameter; unfreeze some")
    if kind not in ("adamw", "muon"):
        raise ValueError(f"unknown optimiser {kind!r}; use 'adamw' or 'muon'")
    hidden: set[int] = set()
    if kind == "muon":
        outer = _embedding_and_head_ids(model)
        hidden = {id(p) for p in params if p.ndim == 2 and id(p) not in outer}
    masters = {id(p): nn.Parameter(p.detach().float()) for p in params if p.dtype.itemsize < 4}
    rest = [masters.get(id(p), p) for p in params if id(p) not in hidden]
    members: dict[str, torch.optim.Optimizer] = {}
    if hidden:
        matrices = [masters.get(id(p), p) for p in params if id(p) in hidden]
        members["muon"] = Muon(matrices, lr, momentum, weight_decay)
    if rest:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in rest if p.ndim == 2 or (p.ndim > 2 and not hidden)], "weight_decay": weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        if hidden:
            groups += [
                {"params": [p], "weight_decay": weight_decay, "lr_scale": min(1.0, _PATCH_INPUTS / p[0].numel())}
                for p in rest
                if p.ndim > 2
            ]
        members["adamw"] = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=lr,
            betas=betas,
            eps=eps,
            fused=all(p.device.type in ("cpu", "cuda") for p in rest),
        )
    return OptimizerSet(members, [(p, masters[id(p)]) for p in params if id(p) in masters])


def _embedding_and_head_ids(model: nn.Module) -> set[int]:
    modules: list[Any] = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    get_head = getattr(model, "get_output_embeddings", None)
    modules.append(get_head() if callable(get_head) else getattr(model, "lm_head", None))
    return {id(p) for module in modules if module is not None for p in module.parameters()}


def _matmul_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a CPU without AMX is several times slower than float32."""
    if device.type == "cuda" or (device.type == "cpu" and has_amx()):
        return torch.bfloat16
    return torch.float32


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 tiles in hardware."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False
