"""How old is the water of a seasonal ocean?

The ideal age is the time since a water parcel last touched the surface. It grows by one year a year in
the interior and is zero at the surface. The deep ocean takes thousands of years to forget a wrong start,
so direct integration is slow; Anderson acceleration gets there in far fewer model years.

The map of one year is affine, T(x) = J x + b, so the answer is known, and each run shows its true error:

    x* = (I - J)^-1 b,    solved by GMRES, preconditioned with the sparse LU of the annual-mean transport
                          (after Li & Primeau 2008, Khatiwala 2008, Bardin et al. 2014)

Run it with `spinup run ideal-age`.
"""

from functools import cache

import numpy as np

from spinup.case import Case
from spinup.function_map import FunctionMap
from spinup.toy_ocean import YEAR, ToyOcean

# --- constants -----------------------------------------------------------------------------------

NY, NZ = 100, 50  # latitudes, levels
STEPS = 48  # time steps a year
SCALE = 1.0  # years, the change that counts as one
TOLERANCE = 1e-4  # years per model year, rms drift

# --- the model: one time step --------------------------------------------------------------------


def step(ocean, age, now):
    """Age in years, (nz, ny), one time step later: older by the step, moved, and zero at the surface."""
    age = ocean.advance(age + ocean.dt / YEAR, now)
    return age.at[0].set(0.0)


# --- T: one year ---------------------------------------------------------------------------------


def year(ocean):
    """The map T of one model year: {"age": (nz, ny)} to the same a year later."""
    import jax

    def integrate(state):
        age, _ = jax.lax.scan(lambda age, now: (step(ocean, age, now), None), state["age"], ocean.season)
        return {"age": age}

    return integrate


# --- the case ------------------------------------------------------------------------------------


def build(ny=NY, nz=NZ, steps=STEPS):
    """The map, started from an age of zero. Smaller numbers make a quick test."""
    ocean = ToyOcean(ny, nz, steps)
    fraction = ocean.volume / ocean.volume.sum()
    return FunctionMap(
        year(ocean),
        start={"age": np.zeros(ocean.shape)},
        jit=True,
        volume=ocean.volume,
        units={"age": "year"},
        long_names={"age": "ideal age"},
        scale=SCALE,
        bounds=(0.0, None),
        dims=("depth", "latitude"),
        coords=ocean.coords,
        diagnostics={
            "mean_age": ("year", "volume-mean ideal age", lambda state: (fraction * state["age"]).sum()),
            "oldest": ("year", "age of the oldest water", lambda state: state["age"].max()),
        },
        name="ideal_age",
    )


@cache
def exact(ny=NY, nz=NZ, steps=STEPS):
    """The periodic age field, {"age": (nz, ny)} in years, by three steps of Newton's method.

    One step would do were GMRES exact; the others take the error down to rounding. Each is one GMRES
    cycle and no more: the last one starts so near the answer that its own tolerance is out of reach.
    """
    from scipy.sparse.linalg import LinearOperator, gmres, splu

    ocean, model = ToyOcean(ny, nz, steps), build(ny, nz, steps)
    inside = slice(ny, None)  # below the surface layer, whose age is given

    def after_a_year(x):
        age = np.concatenate([np.zeros(ny), x]).reshape(ocean.shape)
        return np.asarray(model.evaluate({"age": age})["age"]).ravel()[inside]

    x = np.zeros(ny * (nz - 1))
    b = after_a_year(x)
    mean_transport = splu(-ocean.matrix()[inside, inside])
    one_minus_J = LinearOperator((x.size, x.size), lambda v: v - (after_a_year(v) - b))
    # One backward Euler step of a year with M, J = (I - M)^-1, would make this the inverse of I - J.
    preconditioner = LinearOperator((x.size, x.size), lambda r: r + mean_transport.solve(r))
    for _ in range(3):
        correction, _ = gmres(one_minus_J, after_a_year(x) - x, M=preconditioner, rtol=1e-8, restart=50, maxiter=1)
        x = x + correction
    return {"age": np.concatenate([np.zeros(ny), x]).reshape(ocean.shape)}


CASE = Case(
    name="ideal-age",
    title="Ideal age in a seasonal overturning: the answer is known",
    build=build,
    method="anderson",
    settings={"depth": 30, "mixing": 0.5},  # slow modes are many: a long memory; fast ones overshoot: damping
    budget="500 years",
    tolerance=TOLERANCE,
    exact=exact,
)

if __name__ == "__main__":
    import spinup

    print(spinup.run(CASE, out="runs/ideal-age"))
