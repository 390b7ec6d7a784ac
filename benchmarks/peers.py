"""Other libraries' solvers of x = T(x), an adapter each: all are given T and a start; x and T(x) are (n,) NumPy arrays.

Every one stops by itself at its own tolerance, set to TOLERANCE; otherwise its settings are its defaults but for those
named here. The caller counts the evaluations of T, and ends a search by an exception from T.

Not here: Anderson acceleration of SUNDIALS' KINSOL, which no wheel for all Pythons that spinup runs on offers
(CasADi's has its Newton-Krylov solver).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]

TOLERANCE = 1e-9  # of the residual, in its own norm: not met within a benchmark's budget
DEPTH = 10  # differences that the Anderson accelerations hold
STEPS = 10**6  # more than any budget


@dataclass(frozen=True)
class Peer:
    """solve(T, x): where the library says x = T(x). module: what must be there to import."""

    module: str
    solve: Callable[[Map, np.ndarray], np.ndarray]

    @property
    def installed(self) -> bool:
        return find_spec(self.module) is not None


def scipy_root(T: Map, x: np.ndarray, *, name: str, **options: object) -> np.ndarray:
    """scipy.optimize: anderson, broyden1, newton_krylov of F(x) = T(x) - x, in the largest norm."""
    from scipy import optimize

    return getattr(optimize, name)(lambda x: T(x) - x, x, f_tol=TOLERANCE, line_search=None, **options)


def jaxopt_anderson(T: Map, x: np.ndarray) -> np.ndarray:
    """jaxopt's AndersonAcceleration, step by step outside of jit; its setting up costs an evaluation more."""
    import jax
    from jaxopt import AndersonAcceleration

    jax.config.update("jax_enable_x64", True)
    solver = AndersonAcceleration(
        lambda x: jax.numpy.asarray(T(np.asarray(x))), history_size=DEPTH, jit=False, implicit_diff=False
    )
    params = jax.numpy.asarray(x)
    state = solver.init_state(params)
    for _ in range(STEPS):
        params, state = solver.update(params, state)
        if state.error <= TOLERANCE:
            break
    return np.asarray(params)


def aa(T: Map, x: np.ndarray, *, type1: bool) -> np.ndarray:
    """cvxgrp/aa, Anderson acceleration with its safeguard, in the loop that its documentation gives."""
    from aa import AndersonAccelerator

    accelerator = AndersonAccelerator(len(x), DEPTH, type1=type1, regularization=1e-8 if type1 else 1e-12)
    x, before = x.copy(), x.copy()
    for step in range(STEPS):
        if step:
            accelerator.apply(x, before)
        before = x.copy()
        x = np.array(T(before))
        if np.linalg.norm(x - before) <= TOLERANCE:
            break
        accelerator.safeguard(x, before)
    return x


def casadi_kinsol(T: Map, x: np.ndarray) -> np.ndarray:
    """SUNDIALS' KINSOL in CasADi's wheel: inexact Newton, GMRES on differences, no line search. CasADi looks at the
    pattern of a dense Jacobian before it begins, which takes longer than the search."""
    import casadi

    class Residual(casadi.Callback):
        def __init__(self) -> None:
            casadi.Callback.__init__(self)
            self.error: Exception | None = None
            self.construct("residual", {"enable_fd": True})

        def get_sparsity_in(self, _: int) -> casadi.Sparsity:
            return casadi.Sparsity.dense(len(x), 1)

        def get_sparsity_out(self, _: int) -> casadi.Sparsity:
            return casadi.Sparsity.dense(len(x), 1)

        def eval(self, arguments: list) -> list:
            at = np.array(arguments[0]).ravel()
            if self.error is None:
                try:
                    return [T(at) - at]
                except Exception as error:  # CasADi would make it one of its own, and print it
                    self.error = error
            return [np.full(len(at), np.nan)]

    residual = Residual()
    options = {
        "linear_solver_type": "iterative",
        "iterative_solver": "gmres",
        "max_krylov": 20,
        "exact_jacobian": False,
        "abstol": TOLERANCE,
        "error_on_fail": False,
    }
    try:
        return np.array(casadi.rootfinder("search", "kinsol", residual, options)(x)).ravel()
    finally:
        if residual.error is not None:
            raise residual.error


def petsc_snes(T: Map, x: np.ndarray, *, name: str) -> np.ndarray:
    """PETSc's SNES: anderson, ngmres of F(x) = x - T(x)."""
    from petsc4py import PETSc

    def residual(_: PETSc.SNES, at: PETSc.Vec, f: PETSc.Vec) -> None:
        f.array[:] = at.array_r - T(at.array_r.copy())

    snes = PETSc.SNES().create(PETSc.COMM_SELF)
    snes.setType(name)
    snes.setFunction(residual, PETSc.Vec().createSeq(len(x)))
    snes.setTolerances(rtol=0.0, atol=TOLERANCE, stol=0.0, max_it=STEPS)
    PETSc.Options()[f"snes_{name}_m"] = DEPTH
    snes.setFromOptions()
    found = PETSc.Vec().createWithArray(x.copy(), comm=PETSc.COMM_SELF)
    snes.solve(None, found)
    return found.array.copy()


PEERS: dict[str, Peer] = {
    "scipy.optimize.anderson": Peer("scipy", partial(scipy_root, name="anderson", M=DEPTH)),
    "scipy.optimize.broyden1": Peer("scipy", partial(scipy_root, name="broyden1")),
    "scipy.optimize.newton_krylov": Peer("scipy", partial(scipy_root, name="newton_krylov")),
    "jaxopt.AndersonAcceleration": Peer("jaxopt", jaxopt_anderson),
    "aa.type1": Peer("aa", partial(aa, type1=True)),
    "aa.type2": Peer("aa", partial(aa, type1=False)),
    "casadi.kinsol": Peer("casadi", casadi_kinsol),
    "petsc.snes.anderson": Peer("petsc4py", partial(petsc_snes, name="anderson")),
    "petsc.snes.ngmres": Peer("petsc4py", partial(petsc_snes, name="ngmres")),
}
