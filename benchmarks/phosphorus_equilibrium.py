"""The equilibrium of `phosphorus` to rounding, by none of the methods that are measured against it.

Newton's method from the case's start, with derivatives of T by jax.jvp. T keeps the total w · x, so that w (J - I) = 0;
what makes the linear system regular makes every step keep it too:

    (J - I - u w) dx = -r,   r = T(x) - x,   u = 1     (w, -r and dx: w · r = 0 gives w · dx = 0)

Where negative tracers are let in there are other equilibria: a step is put back to where no tracer is negative, at its
total. The system is solved by SciPy's GMRES. The preconditioner is v -> z - v, z the answer of A, the tendency of the
mean year, by sparse LU, bordered in the same way:

    [ A  -u ] [z]   [        v        ]
    [ w   0 ] [m] = [ -(w v) / (w u)  ]
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from cases import phosphorus
from spinup.conserve import conserve, totals
from spinup.toy_ocean import ToyOcean

STEPS_AT_MOST = 12  # of Newton's method
LINEAR = 1e-8  # of the residual, what GMRES leaves
SMALL = 1e-11  # mmol m-3, the largest change of a last step: the next would be far smaller


def equilibrium(
    ny: int = phosphorus.NY, nz: int = phosphorus.NZ, steps: int = phosphorus.STEPS
) -> dict[str, np.ndarray]:
    """{"po4": (nz, ny), "dop": (nz, ny)}, mmol m-3, on 1 January.

    Raises RuntimeError where Newton's method does not get there.
    """
    import jax
    import jax.numpy as jnp
    from scipy.sparse.linalg import LinearOperator, gmres

    model = phosphorus.build(ny, nz, steps)
    layout, ocean = model.layout, ToyOcean(ny, nz, steps)
    integrate = phosphorus.year(ocean)

    def T(x: Any) -> Any:
        po4, dop = x.reshape(2, *ocean.shape)
        after = integrate({"po4": po4, "dop": dop})
        return jnp.concatenate([after["po4"].ravel(), after["dop"].ravel()])

    period, along = jax.jit(T), jax.jit(lambda x, v: jax.jvp(T, (x,), (v,))[1])
    volume = np.tile(ocean.volume.ravel(), 2)
    w = volume / volume.sum()
    x = layout.pack(model.fields(model.start()))
    total = totals(layout, model.conserved, x)
    for _ in range(STEPS_AT_MOST):
        state = model.replace(model.start(), layout.unpack(x))
        inverse = bordered_inverse(model.operator(state).matrix, w)
        system = LinearOperator(
            (x.size, x.size), matvec=lambda v, x=x: np.asarray(along(x, v)) - v - w @ v, dtype=np.float64
        )
        preconditioner = LinearOperator(system.shape, matvec=lambda v, of=inverse: of(v) - v, dtype=np.float64)
        r = np.asarray(period(x)) - x
        dx, _ = gmres(system, -r, rtol=LINEAR, restart=100, maxiter=2, M=preconditioner)
        if np.abs(dx).max() < SMALL and (x + dx).min() > -SMALL:
            return layout.unpack(x + dx)
        x = conserve(layout, model.conserved, x + dx, total)
    raise RuntimeError(f"phosphorus: the last of {STEPS_AT_MOST} Newton steps moved by {np.abs(dx).max():.2g} mmol m-3")


def bordered_inverse(matrix: Any, w: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """v -> z of the header, (n,) each; matrix: A, sparse (n, n); w: (n,), of sum one."""
    from scipy.sparse import block_array, csc_array
    from scipy.sparse.linalg import splu

    column = csc_array(-np.ones((w.size, 1)))
    factors = splu(csc_array(block_array([[matrix, column], [csc_array(w[None, :]), None]])))
    return lambda v: factors.solve(np.append(v, -(w @ v)))[:-1]
