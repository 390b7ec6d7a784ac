"""A run on disk: a zarr v3 store that any reader of zarr opens, plus the journal that makes it safe.

    RUN/
      temp(evaluation, zt, yt, xt)         T(x), the accelerated variables after each evaluation
      temp_before(evaluation, zt, yt, xt)  x, before it
      drift(evaluation), model_years, ...  what was measured of each evaluation
      start/                               the full state the run began with
      tangents/                            derivatives, where the method asks for them: direction and J v
      states/                              full states that are kept, by slot
      operators/                           one-step operators, where the method asks for them
      mean_state/                          what a state that never rests wanders about, and its standard error
      checkpoints/a, checkpoints/b         the method's own state, newest two
      log/                                 the journal, one JSON file an evaluation, and the lock

A run made on several ranks has fields, states and vectors in chunks along their parts, and operators in pieces of
theirs; else an entry is a chunk.

The journal is the truth: an evaluation exists once its file is there. That file comes last and carries
the size and CRC-32 of every chunk the evaluation wrote. The numbers per evaluation and the consolidated
metadata are copies for readers, brought up to date as the run goes.
"""

from spinup.store.header import Header
from spinup.store.run_store import RunStore
from spinup.store.view import open_mean, open_run, open_state
from spinup.store.written_behind import WrittenBehind

__all__ = ["Header", "RunStore", "WrittenBehind", "open_mean", "open_run", "open_state"]
