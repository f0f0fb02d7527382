"""Arrays that data-loading workers share with their parent process instead of copying them.

A forked worker has its parent's memory, and a page is copied only when somebody writes to it.  Python
writes to every object that it looks at, namely its reference count, so that lists, dicts and strings
are copied sooner or later; the elements of an array are no objects and stay shared.

A spawned worker is sent its dataset through a pipe.  There an array travels as a torch tensor in
shared memory, of which torch sends only the handle.
"""

from __future__ import annotations

import numpy as np
import torch


class SharedArrays:
    """Base of objects whose array attributes, only read, are shared by spawned workers too."""

    def __getstate__(self) -> dict:
        tensors = vars(self).get("_tensors", {})
        state = {name: value for name, value in vars(self).items() if name != "_tensors"}
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                if name not in tensors:  # moved once, whatever the number of workers
                    tensors[name] = torch.from_numpy(np.array(value)).share_memory_()
                    setattr(self, name, tensors[name].numpy())
                state[name] = tensors[name]
        self._tensors = tensors
        return state

    def __setstate__(self, state: dict) -> None:
        tensors = {name: item for name, item in state.items() if isinstance(item, torch.Tensor)}
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        vars(self).update(state, **arrays, _tensors=tensors)
