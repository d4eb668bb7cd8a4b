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
from transformers.pytorch_utils import Conv1D

from adarank_core.scoring.gradients import output_gradients, rows_that_count

__all__ = ["Recording", "block_of", "private_copy"]

# Each logit's gradient costs a backward pass: for a vocabulary, more than scoring itself.
MOST_LOGITS = 8


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

    It is made and used under ``torch.inference_mode``, which what it holds remembers.

    Parameters
    ----------
    model : torch.nn.Module
        A private copy; while a pass goes on from a module, others may not use it.
    batch : dict of str to torch.Tensor
        ``input_ids`` and ``attention_mask``, texts × tokens.
    names : sequence of str
        Modules to go on from, each inside a block ``<path>.<number>``.
    read : callable
        Takes model and batch; returns the logits, texts × logits.

    Attributes
    ----------
    logits : torch.Tensor
        The clean pass's, texts × logits.
    gradients : dict of str to torch.Tensor
        As `scoring.gradients.output_gradients` returns them; none of more than 8 logits.

    Examples
    --------
    >>> from adarank_core.scoring.models import load_model
    >>> model = private_copy(load_model("embedded").model)
    >>> name = "bert.encoder.layer.3.output.dense"
    >>> batch = {
    ...     "input_ids": torch.tensor([[101, 2000, 102]]), "attention_mask": torch.ones(1, 3).int()}
    >>> with torch.inference_mode():
    ...     recording = Recording(model, batch, [name], lambda model, batch: model(**batch).logits)
    ...     same = recording.logits_with({name: torch.zeros(1, 2, 3, 384)})
    >>> torch.allclose(same[name][0, 1], recording.logits[0], atol=1e-6)
    True
    """

    def __init__(self, model: nn.Module, batch: dict, names: Sequence[str], read: Callable):
        self.model, self.batch, self.read = model, batch, read
        self.texts = len(batch["input_ids"])
        # All blocks of a stack, named or not: a pass that goes on skips every one before its own.
        stacks = dict.fromkeys(_stack_of(block_of(name)) for name in names)
        blocks = {
            f"{stack}.{number}": block
            for stack in stacks
            for number, block in model.get_submodule(stack).named_children()
        }
        last = {f"{stack}.{list(model.get_submodule(stack)._modules)[-1]}" for stack in stacks}
        # What an output's first size is with another number of texts tells whether it goes by
        # text; a size alone does not, since tokens or heads may be as many as texts.
        named = dict.fromkeys([*map(block_of, names), *last])
        inside = {name: child for block in named for name, child in _children(model, block)}
        # The shortest text has padding where any has: without, a model may pass no mask on.
        shortest = int(batch["attention_mask"].sum(dim=1).argmin())
        copies = 1 if self.texts > 1 else 2
        other = {key: value[[shortest] * copies] for key, value in batch.items()}
        with _recorded({**blocks, **inside}, keep=_first_sizes) as probe:
            read(model, other)
        self._sizes = {name: calls[0] for name, calls in probe.items() if calls}
        with _recorded(blocks) as self.calls:
            self.logits = read(model, batch)
        self._newest: tuple[str, dict] = ("", {})
        ends = [
            name
            for name, child in inside.items()
            if block_of(name) in last and isinstance(child, nn.Linear | Conv1D)
        ]
        few = self.logits.shape[1] <= MOST_LOGITS
        wanted = list({*names, *ends}) if few else []
        self.gradients = output_gradients(model, batch, wanted, read) if wanted else {}
        self._rows = self._rows_that_count(ends)

    def is_replayable(self, name: str) -> bool:
        """Tell whether there is one place to go on from.

        There is not for a module that runs several times (ALBERT's run once a layer), nor for one
        whose input is shared by all texts (DeBERTa's position projections).
        """
        if len(self.calls[block_of(name)]) != 1 or len(self._inside(name)[name]) != 1:
            return False
        return self._goes_by_text(self._inside(name)[name][0].output, self._sizes[name].output)

    def input_of(self, name: str) -> torch.Tensor:
        """Return the module's clean input, texts × tokens × in_features."""
        given = self._inside(name)[name][0].args[0]
        return given.reshape(self.texts, -1, given.shape[-1])

    def logits_with(self, added: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the logits that follow when something is added to a module's output.

        Parameters
        ----------
        added : dict of str to torch.Tensor
            By the name of a module, texts × copies × tokens × out_features. All modules stand in
            one block; each acts alone, but what follows the block runs once for all of them.

        Returns
        -------
        dict of str to torch.Tensor
            texts × copies × logits.
        """
        block = block_of(next(iter(added)))
        clean, size = self.calls[block][0].output, self._sizes[block].output
        ends = [self._end_of_block(block, name, noise) for name, noise in added.items()]
        copies = [noise.shape[1] for noise in added.values()]
        together = sum(copies)
        answers = {**self._earlier_blocks(block, together), block: self._joined(ends, clean, size)}
        batch = {key: value.repeat_interleave(together, dim=0) for key, value in self.batch.items()}
        with self._running(answers, together):
            logits = self.read(self.model, batch)
        parts = logits.reshape(self.texts, together, -1).split(copies, dim=1)
        return dict(zip(added, parts, strict=True))

    def _end_of_block(self, block: str, name: str, added: torch.Tensor):
        """Return what a block gives when something is added to one of its modules' outputs."""
        copies = added.shape[1]
        inside = self._inside(name)
        own = inside[name][0]
        done = {
            other: calls[0].output
            for other, calls in inside.items()
            if len(calls) == 1 and (calls[0].ended < own.began or _beside(calls[0], own))
        }
        # What stands inside a finished module is not run at all.
        answers = {
            other: self._repeated(output, self._sizes[other].output, copies)
            for other, output in done.items()
            if not any(other.startswith(f"{around}.") for around in done)
        }
        clean = own.output
        noisy = clean.reshape(self.texts, 1, -1, clean.shape[-1]) + added.to(clean.dtype)
        answers[name] = noisy.reshape(-1, *clean.shape[1:])
        call, sizes = self.calls[block][0], self._sizes[block]
        args = self._repeated(call.args, sizes.args, copies)
        kwargs = self._repeated(call.kwargs, sizes.kwargs, copies)
        with self._running(answers, copies):
            return self.model.get_submodule(block)(*args, **kwargs)

    @contextmanager
    def _running(self, answers: dict[str, object], copies: int) -> Iterator[None]:
        """Let some modules give answers, and others compute only what counts."""
        fewer = {
            name: rows.repeat_interleave(copies, dim=0)
            for name, rows in self._rows.items()
            if name not in answers
        }
        with _answering(self.model, answers), _running_only(self.model, fewer):
            yield

    def _rows_that_count(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Return by module the tokens whose outputs reach the logits; nothing where unsure."""
        found = rows_that_count(
            {
                name: self.gradients[name]
                for name in names
                if name in self.gradients
                and self._goes_by_text(self.gradients[name], self._sizes[name].output)
            }
        )
        return found if found and self._logits_without(found).equal(self.logits) else {}

    def _logits_without(self, rows: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the clean logits after all outputs but these rows were made nonsense."""
        handles = [
            self.model.get_submodule(name).register_forward_hook(
                lambda _module, _args, output, keep=keep: torch.where(
                    keep[:, :, None], output, 100 * torch.rand_like(output)
                )
            )
            for name, keep in rows.items()
        ]
        try:
            return self.read(self.model, self.batch)
        finally:
            for handle in handles:
                handle.remove()

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
            read = len(self.calls[following]) > 1 or _stack_of(following) != _stack_of(other)
            size = self._sizes[other].output
            repeated = self._repeated(output, size, copies) if read else output
            answers[other] = repeated
        return answers

    def _inside(self, name: str) -> dict[str, list[_Call]]:
        """Return the calls inside the module's block; the newest block's are kept."""
        block = block_of(name)
        if self._newest[0] != block:
            module, call = self.model.get_submodule(block), self.calls[block][0]
            self._newest = ("", {})  # let go of the old ones first
            with _recorded(dict(_children(self.model, block))) as calls:
                module(*call.args, **call.kwargs)
            self._newest = (block, calls)
        return self._newest[1]

    def _repeated(self, value, size, copies: int):
        """Repeat what goes by text in a value, whatever it is made of."""
        if isinstance(value, dict):
            return {key: self._repeated(value[key], size[key], copies) for key in value}
        if isinstance(value, tuple | list):
            pairs = zip(value, size, strict=True)
            return type(value)(self._repeated(*pair, copies) for pair in pairs)
        if not self._goes_by_text(value, size):
            return value
        by_text = value.reshape(self.texts, -1, *value.shape[1:])
        return by_text.repeat_interleave(copies, dim=0).flatten(0, 1)

    def _joined(self, values: Sequence, clean, size):
        """Join values of some copies each, text by text; ``clean`` is the value without copies."""
        if isinstance(clean, tuple | list):
            items = zip(zip(*values, strict=True), clean, size, strict=True)
            return type(clean)(self._joined(*item) for item in items)
        if not self._goes_by_text(clean, size):
            return values[0]
        by_text = [value.reshape(self.texts, -1, *value.shape[1:]) for value in values]
        return torch.cat(by_text, dim=1).flatten(0, 1)

    def _goes_by_text(self, output, size: int | None) -> bool:
        if not isinstance(output, torch.Tensor) or size is None or output.shape[0] == size:
            return False
        return output.shape[0] % self.texts == 0


def _beside(call: _Call, own: _Call) -> bool:
    """Tell whether a call came after another with the same input and nothing else: key, query."""
    alone = len(call.args) == 1 and not call.kwargs
    return alone and call.began > own.ended and call.args[0] is own.args[0]


def _first_sizes(value):
    """Return the first sizes of the tensors in a value, None for what has none."""
    if isinstance(value, dict):
        return {key: _first_sizes(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_first_sizes(item) for item in value)
    return value.shape[0] if isinstance(value, torch.Tensor) and value.dim() else None


def _children(model: nn.Module, block: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield all modules inside a block, by their full names."""
    for path, child in model.get_submodule(block).named_modules():
        if path:
            yield f"{block}.{path}", child


def block_of(name: str) -> str:
    """Return the path of the repeated block that a module stands in.

    Examples
    --------
    >>> block_of("bert.encoder.layer.3.output.dense")
    'bert.encoder.layer.3'
    """
    return re.match(r".*?\.\d+(?=\.)", name).group()


def _stack_of(block: str) -> str:
    return block.rpartition(".")[0]


@contextmanager
def _recorded(
    modules: dict[str, nn.Module], keep: Callable = lambda value: value
) -> Iterator[dict[str, list[_Call]]]:
    """Record every call of the modules, by name; ``keep`` says what to keep of a value."""
    calls: dict[str, list[_Call]] = {name: [] for name in modules}
    handles, clock = [], iter(range(1 << 62))

    def watch(name, module):
        def before(_module, args, kwargs):
            calls[name].append(_Call(keep(args), keep(kwargs), next(clock)))

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


@contextmanager
def _running_only(model: nn.Module, rows: dict[str, torch.Tensor]) -> Iterator[None]:
    """Let linear modules compute some tokens' outputs only, and give 0 for the others."""

    def on(module, at):
        def forward(inputs):
            few = type(module).forward(module, inputs[at])
            output = few.new_zeros(*inputs.shape[:-1], few.shape[-1])
            output[at] = few
            return output

        return forward

    modules = {name: model.get_submodule(name) for name in rows}
    try:
        for name, module in modules.items():
            module.forward = on(module, rows[name].nonzero(as_tuple=True))
        yield
    finally:
        for module in modules.values():
            module.__dict__.pop("forward", None)
