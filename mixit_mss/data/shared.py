"""Arrays that data-loading workers share with their parent process instead of copying them.

A forked worker shares its parent's memory until one of them writes to a page.  Python writes the
reference count of every object that it touches, so lists, dicts and strings are copied sooner or
later; the elements of an array are not objects and stay shared.

A spawned worker receives its dataset through a pipe.  Arrays are sent as torch tensors in shared
memory, for which torch sends only a handle.
"""

from __future__ import annotations

import numpy as np
import torch


class SharedArrays:
    """Base class whose read-only array attributes are shared with spawned workers too."""

    def __getstate__(self) -> dict:
        tensors = vars(self).get("_tensors", {})
        state = {name: value for name, value in vars(self).items() if name != "_tensors"}
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                if name not in tensors:  # moved once, for all workers
                    tensors[name] = torch.from_numpy(np.array(value)).share_memory_()
                    setattr(self, name, tensors[name].numpy())
                state[name] = tensors[name]
        self._tensors = tensors
        return state

    def __setstate__(self, state: dict) -> None:
        tensors = {name: item for name, item in state.items() if isinstance(item, torch.Tensor)}
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        vars(self).update(state, **arrays, _tensors=tensors)
