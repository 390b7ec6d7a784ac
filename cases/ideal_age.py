"""How old is the water of a seasonal ocean?

The ideal age is the time since a water parcel last touched the surface. It grows by one year a year in
the interior and is zero at the surface. The deep ocean takes thousands of years to forget a wrong start,
so direct integration is slow; Anderson acceleration gets there in far fewer model years.

The map of one year is affine, T(x) = J x + b, so the answer is known, and each run shows its true error:

    x* = (I - J)^-1 b,    by a sparse LU of I - J

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
FORGETS = 1e6  # year-1, a rate that is as good as at once
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


def tendency(ocean):
    """What a solver may know: transport in the mean of the year; the surface forgets at once. Per year, sparse."""
    from scipy.sparse import csr_array, diags_array

    below = np.broadcast_to((np.arange(ocean.nz) > 0)[:, None], ocean.shape).ravel()
    mean = csr_array(diags_array(below.astype(float)) @ ocean.matrix() - diags_array(FORGETS * ~below))
    return lambda state: mean


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
        tendency=tendency(ocean),
        name="ideal_age",
    )


@cache
def exact(ny=NY, nz=NZ, steps=STEPS):
    """The periodic age field, {"age": (nz, ny)} in years: x* = (I - J)^-1 b by sparse LU.

    J is put together column by column: a year's map of every unit vector, less that of zero. One step of
    iterative refinement takes the error of J down to rounding.
    """
    import jax
    import jax.numpy as jnp
    from scipy.sparse import csc_array, identity
    from scipy.sparse.linalg import splu

    jax.config.update("jax_enable_x64", True)
    ocean = ToyOcean(ny, nz, steps)
    integrate, cells = year(ocean), ny * (nz - 1)  # below the surface layer, whose age is given

    @jax.jit
    def after_a_year(x):
        age = jnp.concatenate([jnp.zeros(ny), x]).reshape(ocean.shape)
        return integrate({"age": age})["age"].ravel()[ny:]

    b = np.asarray(after_a_year(jnp.zeros(cells)))
    columns = np.asarray(jax.lax.map(after_a_year, jnp.eye(cells), batch_size=100)) - b
    factors = splu(identity(cells, format="csc") - csc_array(columns.T))
    x = factors.solve(b)
    x = x + factors.solve(np.asarray(after_a_year(jnp.asarray(x))) - x)
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
