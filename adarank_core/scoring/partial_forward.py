"""Run a model again from one of its modules on, with something added to that module's output.

Everything before the module is computed once. What comes after it runs as the model itself runs
it: nothing here knows any architecture. All of it happens on a private copy of the model's
structure, which shares every weight with the original, so that several sessions can work on one
model at once and nothing is left behind on it.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from adarank_core.scoring.gradients import output_gradients
from adarank_core.scoring.noise import generator_for
from adarank_core.scoring.token_use import tokens_that_count

__all__ = ["Recording", "block_of"]

# Each logit's gradient costs a backward pass: for a vocabulary, more than scoring itself.
MOST_LOGITS = 8
# How far going on from a module may be off a whole pass, over how far its noise moves the logits.
# What is wrong is as large as that; rounding is not.
TOLERANCE = 0.1


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
    tokens : dict of str to torch.Tensor
        As `scoring.token_use.tokens_that_count` returns them, for the last blocks' modules.

    Examples
    --------
    >>> from adarank_core.scoring.heads import private_copy
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
        blocks, last = {}, set()
        for stack in dict.fromkeys(_stack_of(block_of(name)) for name in names):
            children = model.get_submodule(stack).named_children()
            of_stack = {f"{stack}.{number}": block for number, block in children}
            blocks |= of_stack
            last.add(list(of_stack)[-1])
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
        if self.logits.shape[1] <= MOST_LOGITS:
            at_ends = self.gradients = self._gradients([*{*names, *ends}], read)
        else:
            self.gradients, at_ends = {}, self._gradients(ends, _at_random(read))
        by_text = {
            name: at_ends[name]
            for name in ends
            if name in at_ends and self._goes_by_text(at_ends[name], self._sizes[name].output)
        }
        self.tokens = tokens_that_count(model, batch, read, self.logits, by_text)

    def _gradients(self, names: Sequence[str], read: Callable) -> dict[str, torch.Tensor]:
        """Return gradients at modules' outputs; none of a model that cannot be differentiated."""
        try:
            return output_gradients(self.model, self.batch, names, read)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of packed products, which are made for use alone
            return {}

    def is_replayable(self, name: str) -> bool:
        """Tell whether there is one place to go on from.

        There is not for a module that runs several times (ALBERT's run once a layer), nor for one
        whose input is shared by all texts (DeBERTa's position projections).
        """
        if len(self.calls[block_of(name)]) != 1 or len(self._inside(name)[name]) != 1:
            return False
        return self._goes_by_text(self._inside(name)[name][0].output, self._sizes[name].output)

    def faithful(self, names: Sequence[str]) -> set[str]:
        """Return the modules from which going on gives what a whole pass gives.

        A model can do what no recording knows of: change a recorded tensor, keep a cache, exchange
        a module, count tokens in plain numbers. So this is tried, with noise as large as a
        module's output. Blocks that are made of the same modules work alike: of those the last
        is tried, before which most is skipped.

        Parameters
        ----------
        names : sequence of str

        Returns
        -------
        set of str
            Another batch may still have nowhere to go on from, which `is_replayable` tells.
        """
        alike: dict[tuple, dict[str, list[str]]] = {}
        for block, members in itertools.groupby(names, block_of):
            inside = self.model.get_submodule(block).named_modules()
            kinds = tuple((path, type(child)) for path, child in inside)
            alike.setdefault((_stack_of(block), kinds), {})[block] = list(members)
        found = set()
        for blocks in alike.values():
            last = list(blocks)[-1]
            right = {name.removeprefix(last) for name in self._faithful_of_block(blocks[last])}
            for block, members in blocks.items():
                found |= {name for name in members if name.removeprefix(block) in right}
        return found

    def _faithful_of_block(self, names: list[str]) -> set[str]:
        """Hold going on from each module of a block against one whole pass with hooks."""
        try:
            names = [name for name in names if self.is_replayable(name)]
            added = {name: self._noise(name) for name in names}
            found = self.logits_with(added) if added else {}
            wanted = self._whole_pass({name: noise[0, 1] for name, noise in added.items()})
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever a model stumbles over when it does not run from the start
            return set()
        clean = self.logits[0]
        device = clean.device.type
        lower = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if lower else self.model.dtype
        rounding = 8 * torch.finfo(dtype).eps * clean.abs().max()
        return {
            name
            for name, logits in zip(names, wanted, strict=True)
            if (found[name][0, 1] - logits).abs().max()
            <= TOLERANCE * (logits - clean).abs().max() + rounding
        }

    def _noise(self, name: str) -> torch.Tensor:
        """Draw two copies of noise, alike for all texts: nothing, and as large as the output."""
        output = self._inside(name)[name][0].output
        shape = output.reshape(self.texts, -1, output.shape[-1]).shape[1:]
        drawn = torch.randn(shape, generator=generator_for(0, name)).to(output.device)
        noise = drawn * output.float().std()
        return torch.stack([torch.zeros_like(noise), noise]).repeat(self.texts, 1, 1, 1)

    def _whole_pass(self, added: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the first text's logits with each module's noise, modules × logits."""

        def add(row, noise):
            def hook(_module, _args, output):
                noisy = output.reshape(len(added), *noise.shape).clone()
                noisy[row] += noise.to(noisy.dtype)
                return noisy.reshape(output.shape)

            return hook

        handles = [
            self.model.get_submodule(name).register_forward_hook(add(row, noise))
            for row, (name, noise) in enumerate(added.items())
        ]
        try:
            batch = {key: value[[0] * len(added)] for key, value in self.batch.items()}
            return self.read(self.model, batch) if added else self.logits[:0]
        finally:
            for handle in handles:
                handle.remove()

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
        answers = {**self.earlier_blocks(block, together), block: self._joined(ends, clean, size)}
        batch = {key: value.repeat_interleave(together, dim=0) for key, value in self.batch.items()}
        with self._running(answers, together):
            logits = self.read(self.model, batch)
        parts = logits.reshape(self.texts, together, -1).split(copies, dim=1)
        return dict(zip(added, parts, strict=True))

    def _end_of_block(self, block: str, name: str, added: torch.Tensor):
        """Return what a block gives when something is added to one of its modules' outputs."""
        copies = added.shape[1]
        answers = self.finished_inside(name, copies)
        clean = self._inside(name)[name][0].output
        noisy = clean.reshape(self.texts, 1, -1, clean.shape[-1]) + added.to(clean.dtype)
        answers[name] = noisy.reshape(-1, *clean.shape[1:])
        call, sizes = self.calls[block][0], self._sizes[block]
        args = self._repeated(call.args, sizes.args, copies)
        kwargs = self._repeated(call.kwargs, sizes.kwargs, copies)
        with self._running(answers, copies):
            return self.model.get_submodule(block)(*args, **kwargs)

    def finished_inside(self, name: str, copies: int) -> dict[str, object]:
        """Return the clean outputs of what a module does not touch in its own block.

        These are the modules that ran before it, and those beside it, such as key beside query.

        Parameters
        ----------
        name : str
        copies : int
            How often an output that goes by text is repeated.

        Returns
        -------
        dict of str to object
            By the module's name. What stands inside one of them is not named, for it is not run.
        """
        inside = self._inside(name)
        own = inside[name][0]
        done = {
            other: calls[0].output
            for other, calls in inside.items()
            if len(calls) == 1 and (calls[0].ended < own.began or _beside(calls[0], own))
        }
        return {
            other: self._repeated(output, self._sizes[other].output, copies)
            for other, output in done.items()
            if not any(other.startswith(f"{around}.") for around in done)
        }

    @contextmanager
    def _running(self, answers: dict[str, object], copies: int) -> Iterator[None]:
        """Let some modules give answers, and others compute only what counts."""
        forwards = {name: _answer(output) for name, output in answers.items()}
        for name, tokens in self.tokens.items():
            if name not in answers:
                own = self.model.get_submodule(name).forward
                forwards[name] = _at_tokens(own, tokens.repeat_interleave(copies, dim=0))
        with _replaced_forwards(self.model, forwards):
            yield

    def earlier_blocks(self, block: str, copies: int) -> dict[str, object]:
        """Return the clean outputs of the blocks that ran before one, and need not run again.

        Parameters
        ----------
        block : str
        copies : int
            How often an output that goes by text is repeated where it is read.

        Returns
        -------
        dict of str to object
            By the block's name, whatever it gives.
        """
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


def _at_random(read: Callable) -> Callable:
    """Return a reading of one number a text that all logits enter: one backward pass for all."""

    def read_at_random(model, batch):
        logits = read(model, batch)
        weights = torch.rand(logits.shape[1], generator=generator_for(0, "logits")) + 0.5
        return (logits * weights.to(logits)).sum(dim=1, keepdim=True)

    return read_at_random


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
            call.output, call.ended = keep(_own(output)), next(clock)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))

    try:
        for name, module in modules.items():
            watch(name, module)
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _own(value):
    """Copy a module's output: what runs later may change it in place, such as add to it."""
    if type(value) in (tuple, list):
        return type(value)(_own(item) for item in value)
    return value.clone() if isinstance(value, torch.Tensor) else value


def _answer(output) -> Callable:
    """Return a forward that gives an output without computing it."""
    return lambda *_args, **_kwargs: output


def _at_tokens(forward: Callable, tokens: torch.Tensor) -> Callable:
    """Return a linear module's forward that computes some tokens' outputs; others are 0."""
    at = tokens.nonzero(as_tuple=True)

    def forward_at_tokens(inputs):
        few = forward(inputs[at])
        output = few.new_zeros(*inputs.shape[:-1], few.shape[-1])
        output[at] = few
        return output

    return forward_at_tokens


@contextmanager
def _replaced_forwards(model: nn.Module, forwards: dict[str, Callable]) -> Iterator[None]:
    """Let modules run other forwards; what stood there comes back, such as accelerate's hooks."""
    modules = {model.get_submodule(name): forward for name, forward in forwards.items()}
    before = {module: vars(module).get("forward") for module in modules}
    try:
        for module, forward in modules.items():
            module.forward = forward
        yield
    finally:
        for module, own in before.items():
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own
