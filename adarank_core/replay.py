"""Run a model again from one of its modules on, with something added to that module's output.

Everything before the module is computed once. What comes after it runs as the model itself runs
it: nothing here knows any architecture. All of it happens on a private copy of the model's
structure, which shares every weight with the original, so that several sessions can work on one
model at once and nothing is left behind on it.
"""

import copy
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["Recording", "private_copy"]


def private_copy(model: nn.Module) -> nn.Module:
    """Copy a model's structure but none of its weights, in evaluation mode.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> private_copy(layer).weight is layer.weight
    True
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    own = copy.deepcopy(model, shared)
    for module in own.modules():
        if hasattr(module, "config"):
            module.config.use_cache = False  # a second call must not see the first one's keys
    return own.eval()


@dataclass
class _Call:
    """One call of a module: what went in, what came out, and when it began and ended."""

    args: tuple
    kwargs: dict
    began: int
    output: object = None
    ended: int = 0


class Recording:
    """The clean pass of one batch through a model, and passes that go on from a module.

    Parameters
    ----------
    model : torch.nn.Module
        A private copy; while a pass goes on from a module, others may not use it.
    batch : dict of str to torch.Tensor
        Keyword arguments of the model, texts × tokens.
    names : sequence of str
        Modules to go on from, each inside a block ``<path>.<number>``.
    read : callable
        Takes model and batch; returns the logits, texts × logits.

    Examples
    --------
    >>> from adarank_core.models import load_model
    >>> model = private_copy(load_model("embedded").model)
    >>> name = "bert.encoder.layer.3.output.dense"
    >>> batch = {"input_ids": torch.tensor([[101, 2000, 102]])}
    >>> with torch.inference_mode():
    ...     recording = Recording(model, batch, [name], lambda model, batch: model(**batch).logits)
    ...     same = recording.logits_with(name, torch.zeros(1, 2, 3, 384))
    >>> torch.allclose(same[0, 1], recording.logits[0], atol=1e-6)
    True
    """

    def __init__(self, model: nn.Module, batch: dict, names: Sequence[str], read: Callable):
        self.model, self.batch, self.read = model, batch, read
        self.texts = len(batch["input_ids"])
        # All blocks of a stack, named or not: a pass that goes on skips every one before its own.
        stacks = dict.fromkeys(_stack_of(_block_of(name)) for name in names)
        blocks = {
            f"{stack}.{number}": block
            for stack in stacks
            for number, block in model.get_submodule(stack).named_children()
        }
        # What an output's first size is with another number of texts tells whether it goes by
        # text; a size alone does not, since tokens or heads may be as many as texts.
        named = dict.fromkeys(map(_block_of, names))
        inside = {name: child for block in named for name, child in _children(model, block)}
        other = 1 if self.texts > 1 else 2
        few = {key: value[:1].expand(other, -1) for key, value in batch.items()}
        with _recorded({**blocks, **inside}, keep=_first_sizes) as probe:
            read(model, few)
        self._grows = {name: (calls[0].output if calls else None) for name, calls in probe.items()}
        with _recorded(blocks) as self.calls:
            self.logits = read(model, batch)
        self._newest: tuple[str, dict] = ("", {})

    def is_replayable(self, name: str) -> bool:
        """Tell whether there is one place to go on from.

        There is not for a module that runs several times (ALBERT's run once a layer), nor for one
        whose input is shared by all texts (DeBERTa's position projections).
        """
        if len(self.calls[_block_of(name)]) != 1 or len(self._inside(name)[name]) != 1:
            return False
        return self._goes_by_text(self._inside(name)[name][0].output, self._grows[name])

    def input_of(self, name: str) -> torch.Tensor:
        """Return the module's clean input, texts × tokens × in_features."""
        given = self._inside(name)[name][0].args[0]
        return given.reshape(self.texts, -1, given.shape[-1])

    def logits_with(self, name: str, added: torch.Tensor) -> torch.Tensor:
        """Return the logits that follow when something is added to a module's output.

        Parameters
        ----------
        name : str
        added : torch.Tensor
            texts × copies × tokens × out_features.

        Returns
        -------
        torch.Tensor
            texts × copies × logits.
        """
        copies = added.shape[1]
        answers = self._earlier_blocks(_block_of(name), copies)
        inside = self._inside(name)
        own = inside[name][0]
        done = {
            other: calls[0].output
            for other, calls in inside.items()
            if len(calls) == 1 and calls[0].ended < own.began
        }
        for other, output in done.items():
            # What stands inside a finished module is not run at all.
            if not any(other.startswith(f"{around}.") for around in done):
                answers[other] = self._repeated(output, self._grows[other], copies)
        clean = own.output
        noisy = clean.reshape(self.texts, 1, -1, clean.shape[-1]) + added.to(clean.dtype)
        answers[name] = noisy.reshape(-1, *clean.shape[1:])
        batch = {key: value.repeat_interleave(copies, dim=0) for key, value in self.batch.items()}
        with _answering(self.model, answers):
            logits = self.read(self.model, batch)
        return logits.reshape(self.texts, copies, -1)

    def _earlier_blocks(self, block: str, copies: int) -> dict[str, object]:
        """Return the outputs of the blocks that ran before this one."""
        began = self.calls[block][0].began
        order = sorted(
            (call.began, other)
            for other, calls in self.calls.items()
            for call in calls
            if call.began <= began
        )
        answers = {}
        for (_, other), (_, following) in itertools.pairwise(order):
            if len(self.calls[other]) > 1:
                continue  # one answer does not fit all of its calls, so it runs
            output = self.calls[other][0].output
            # Full size only where somebody reads it: before a block that runs, at a stack's end.
            runs = following == block or len(self.calls[following]) > 1
            read = runs or _stack_of(following) != _stack_of(other)
            repeated = self._repeated(output, self._grows[other], copies) if read else output
            answers[other] = repeated
        return answers

    def _inside(self, name: str) -> dict[str, list[_Call]]:
        """Return the calls inside the module's block; the newest block's are kept."""
        block = _block_of(name)
        if self._newest[0] != block:
            module, call = self.model.get_submodule(block), self.calls[block][0]
            self._newest = ("", {})  # let go of the old ones first
            with _recorded(dict(_children(self.model, block))) as calls:
                module(*call.args, **call.kwargs)
            self._newest = (block, calls)
        return self._newest[1]

    def _repeated(self, output, sizes, copies: int):
        """Repeat what goes by text in an output, whatever tuples it is made of."""
        if isinstance(output, tuple | list):
            pairs = zip(output, sizes, strict=True)
            return type(output)(self._repeated(item, size, copies) for item, size in pairs)
        if not self._goes_by_text(output, sizes):
            return output
        by_text = output.reshape(self.texts, -1, *output.shape[1:])
        return by_text.repeat_interleave(copies, dim=0).flatten(0, 1)

    def _goes_by_text(self, output, size: int | None) -> bool:
        if not isinstance(output, torch.Tensor) or size is None or output.shape[0] == size:
            return False
        return output.shape[0] % self.texts == 0


def _first_sizes(output):
    """Return the first sizes of the tensors in an output, None for what has none."""
    if isinstance(output, tuple | list):
        return tuple(_first_sizes(item) for item in output)
    return output.shape[0] if isinstance(output, torch.Tensor) and output.dim() else None


def _children(model: nn.Module, block: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield all modules inside a block, by their full names."""
    for path, child in model.get_submodule(block).named_modules():
        if path:
            yield f"{block}.{path}", child


def _block_of(name: str) -> str:
    """Return the path of the repeated block that a module stands in."""
    return re.match(r".*?\.\d+(?=\.)", name).group()


def _stack_of(block: str) -> str:
    return block.rpartition(".")[0]


@contextmanager
def _recorded(
    modules: dict[str, nn.Module], keep: Callable = lambda output: output
) -> Iterator[dict[str, list[_Call]]]:
    """Record every call of the modules, by name; ``keep`` says what to keep of an output."""
    calls: dict[str, list[_Call]] = {name: [] for name in modules}
    handles, clock = [], iter(range(1 << 62))

    def watch(name, module):
        def before(_module, args, kwargs):
            calls[name].append(_Call(args, kwargs, next(clock)))

        def after(_module, _args, _kwargs, output):
            call = next(call for call in reversed(calls[name]) if not call.ended)
            call.output, call.ended = keep(output), next(clock)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))

    try:
        for name, module in modules.items():
            watch(name, module)
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _answering(model: nn.Module, answers: dict[str, object]) -> Iterator[None]:
    """Let modules return given outputs instead of running."""
    modules = [model.get_submodule(name) for name in answers]
    try:
        for module, output in zip(modules, answers.values(), strict=True):
            module.forward = lambda *_args, _output=output, **_kwargs: _output
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)
