"""How is phosphorus shared out between the surface and the deep ocean?

Phosphate (PO4) is taken up where there is light. A fraction of it becomes dissolved organic phosphorus
(DOP), which decays back to phosphate while it drifts; the rest sinks as particles and is remineralised on
the way down (Martin et al. 1987). The model is non-linear and its total phosphorus never changes: the
answer depends on the start through that total alone, and a solver must not lose any of it.

The equations are those of MITgcm-PO4-DOP (Dutkiewicz et al. 2005; Kriest et al. 2010), with the values of
Metos3D (Piwonski & Slawig 2016); the ocean is the toy ocean of two dimensions, not theirs.

    uptake f = alpha PO4 / (PO4 + K_P) I / (I + K_I)    in the euphotic zone
    dPO4/dt  = -f + lambda DOP + (1 - sigma) (convergence of the sinking flux) + transport
    dDOP/dt  = sigma f - lambda DOP + transport

Run it with `spinup run phosphorus`.
"""

import numpy as np

from spinup.case import Case
from spinup.function_map import FunctionMap
from spinup.toy_ocean import YEAR, ToyOcean

# --- constants -----------------------------------------------------------------------------------

NY, NZ = 100, 50  # latitudes, levels
STEPS = 48  # time steps a year

ALPHA = 2.0  # mmol m-3 year-1, largest uptake
K_P = 0.5  # mmol m-3, half-saturation of phosphate
K_I = 30.0  # W m-2, half-saturation of light
SIGMA = 0.67  # share of the uptake that becomes DOP
LAMBDA = 0.5  # year-1, decay of DOP
MARTIN = 0.858  # exponent of the sinking flux with depth
EUPHOTIC = 120.0  # m, depth of the lit zone (snapped to the nearest interface of the grid)
ATTENUATION = 0.02  # m-1, of light in water

SOLAR = 1361.0  # W m-2, solar constant
PAR = 0.4 * 0.6  # share of it that is usable by plants, times the share that passes air and clouds
TILT = 23.44  # degrees, of the Earth's axis
SOLSTICE = 10 / 365  # years before 1 January

PO4_START, DOP_START = 2.17, 1e-4  # mmol m-3, everywhere
SCALE = 1.0  # mmol m-3, the change that counts as one
TOLERANCE = 1e-6  # mmol m-3 per model year, rms drift

# --- the model -----------------------------------------------------------------------------------


def insolation(ocean):
    """Daily-mean light below the surface, (steps, ny), W m-2."""
    latitude = np.radians(ocean.latitude)
    sun = -np.radians(TILT) * np.cos(2 * np.pi * (ocean.phase[:, None] + SOLSTICE))
    half_day = np.arccos(np.clip(-np.tan(latitude) * np.tan(sun), -1, 1))
    overhead = half_day * np.sin(latitude) * np.sin(sun) + np.cos(latitude) * np.cos(sun) * np.sin(half_day)
    return PAR * SOLAR / np.pi * overhead


def sinking(ocean):
    """Number of lit layers, and the share of the export that is remineralised in each layer, (nz,).

    What reaches the floor is remineralised in the bottom layer, so the shares add up to one.
    """
    lit = int(np.argmin(np.abs(ocean.interfaces - EUPHOTIC)))
    flux = np.minimum((ocean.interfaces / ocean.interfaces[lit]).clip(min=1.0) ** -MARTIN, 1.0)
    flux[-1] = 0.0
    return lit, -np.diff(flux)


def biology(ocean):
    """Sources of PO4 and DOP, a function (po4, dop, light at the surface) -> mmol m-3 year-1, (nz, ny) each."""
    lit, share = sinking(ocean)
    dz = ocean.dz[:, None]
    shade = (np.exp(-ATTENUATION * ocean.depth) * (np.arange(ocean.nz) < lit))[:, None]

    def sources(po4, dop, light):
        light = shade * light
        uptake = ALPHA * po4 / (po4 + K_P) * light / (light + K_I)
        export = (1 - SIGMA) * (uptake * dz).sum(axis=0)  # mmol m-2 year-1
        decay = LAMBDA * dop
        return -uptake + share[:, None] * export / dz + decay, SIGMA * uptake - decay

    return sources


# --- T: one year ---------------------------------------------------------------------------------


def year(ocean):
    """The map T of one model year: {"po4": (nz, ny), "dop": (nz, ny)} to the same a year later."""
    import jax

    sources, dt = biology(ocean), ocean.dt / YEAR

    def step(state, now):
        season, light = now
        po4, dop = sources(state["po4"], state["dop"], light)
        po4, dop = state["po4"] + dt * po4, state["dop"] + dt * dop
        return {"po4": ocean.advance(po4, season), "dop": ocean.advance(dop, season)}, None

    calendar = ocean.season, insolation(ocean)
    return lambda state: jax.lax.scan(step, state, calendar)[0]


def tendency(ocean):
    """What a solver may know of it: transport and biology in the mean of the year, linearised. Per year, sparse.

    Biology stays in its column: one derivative for each tracer and level, of all columns at once.
    """
    import jax
    import jax.numpy as jnp
    from scipy.sparse import block_diag, coo_array, csr_array

    sources, light = biology(ocean), jnp.asarray(insolation(ocean))
    index = np.arange(2 * ocean.nz * ocean.ny).reshape(2, *ocean.shape)  # of (tracer, level, latitude) in the vector
    transport = block_diag([ocean.matrix()] * 2)

    @jax.jit
    def derivatives(po4, dop):
        """(tracer, level) perturbed, (tracer, level, latitude) that answers."""

        def mean(tracers):
            return jax.vmap(lambda now: jnp.stack(sources(*tracers, now)))(light).mean(axis=0)

        def of(tracer, level):
            one = jnp.zeros((2, *ocean.shape)).at[tracer, level].set(1.0)
            return jax.jvp(mean, (jnp.stack([po4, dop]),), (one,))[1]

        levels = jnp.arange(ocean.nz)
        return jax.vmap(lambda tracer: jax.vmap(lambda level: of(tracer, level))(levels))(jnp.arange(2))

    def linearised(state):
        found = np.asarray(derivatives(state["po4"], state["dop"]))
        tracer, level, to_tracer, to_level, latitude = np.nonzero(found)
        where = index[to_tracer, to_level, latitude], index[tracer, level, latitude]
        rates = coo_array((found[tracer, level, to_tracer, to_level, latitude], where), shape=transport.shape)
        return csr_array(transport + rates)

    return linearised


# --- the case ------------------------------------------------------------------------------------


def build(ny=NY, nz=NZ, steps=STEPS):
    """The map, started from a uniform ocean. Smaller numbers make a quick test."""
    ocean = ToyOcean(ny, nz, steps)
    fraction = ocean.volume / ocean.volume.sum()
    return FunctionMap(
        year(ocean),
        start={"po4": np.full(ocean.shape, PO4_START), "dop": np.full(ocean.shape, DOP_START)},
        jit=True,
        volume=ocean.volume,
        units={"po4": "mmol m-3", "dop": "mmol m-3"},
        long_names={"po4": "phosphate", "dop": "dissolved organic phosphorus"},
        scale=SCALE,
        bounds=(0.0, None),
        conserved=(("po4", "dop"),),
        dims=("depth", "latitude"),
        coords=ocean.coords,
        diagnostics={
            "mean_p": ("mmol m-3", "mean phosphorus", lambda s: (fraction * (s["po4"] + s["dop"])).sum()),
            "surface_po4": ("mmol m-3", "mean surface phosphate", lambda s: s["po4"][0].mean()),
        },
        tendency=tendency(ocean),
        name="phosphorus",
    )


CASE = Case(
    name="phosphorus",
    title="Phosphorus cycle in a seasonal overturning: non-linear, total conserved",
    build=build,
    method="anderson",
    settings={"depth": 30},  # a long memory costs little beside the model
    budget="500 years",
    tolerance=TOLERANCE,
)

if __name__ == "__main__":
    import spinup

    print(spinup.run(CASE, out="runs/phosphorus"))
