"""Isoneutral slopes that are held where the water is nearly neutral, for the operator of one time step.

Diffusion along isopycnals and the eddies' skew fluxes depend on slopes, horizontal over vertical density gradients.
Where the vertical one is nearly zero, in convecting and in old deep water, the fluxes jump within a thousandth of a
kelvin: a difference quotient there says nothing of any larger change, and single columns of its matrix grow. In
the perturbed steps the coefficients c that are made of slopes therefore follow by a share only,

    c_0 + w (c - c_0),    w = x^2 / (x^2 + L^2),

x the vertical density gradient of the unperturbed state (kg m-4), c_0 its coefficients: the unperturbed step is the
model's own, and so is the response where the water is stratified. Measured on `acc` at 4 degrees: the documentation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Slopes = dict[str, Any]  # c_0 and w, or c, by name

NEARLY_NEUTRAL = 1e-4  # L, kg m-4: N^2 of 1e-6 s-2
WITH_SEASONS = 3e-4  # the same where an operator is to serve for a season: below it some columns grow within days


@contextmanager
def slopes_held(held: Slopes, shares: Slopes) -> Iterator[Slopes]:
    """While a step is traced: its coefficients are the `held` c_0 with their `shares` w, by name. What is yielded gets
    those of its own, c, which are the model's own where c_0 is 0 and w 1."""
    from veros.core import isoneutral

    exact = isoneutral.isoneutral_diffusion_pre
    own: Slopes = {}

    def following(now: Any) -> Any:
        found = exact(now)
        own.update({name: getattr(found, name) for name in held})
        return type(found)(**{name: held[name] + shares[name] * (own[name] - held[name]) for name in held})

    isoneutral.isoneutral_diffusion_pre = following
    try:
        yield own
    finally:
        isoneutral.isoneutral_diffusion_pre = exact


def none_held(state: Any, shares: Slopes) -> tuple[Slopes, Slopes]:
    """c_0 and w, of the names and shapes of `shares`, of a step that is the model's own."""
    import jax.numpy as jnp

    held = {name: jnp.zeros_like(getattr(state.variables, name)) for name in shares}
    return held, {name: jnp.ones_like(w) for name, w in shares.items()}


def slope_shares(state: Any, neutral: float) -> Slopes:
    """w of each coefficient about this state of Veros, with L = neutral, kg m-4; those of one slope each have two more
    dimensions, (column, interface). Empty where nothing is mixed along isopycnals."""
    import jax.numpy as jnp
    from veros.core import density

    if not state.settings.enable_neutral_diffusion:
        return {}
    vs = state.variables
    salt, temp = (jnp.take(getattr(vs, n), vs.tau, axis=-1) for n in ("salt", "temp"))
    gradient = jnp.zeros_like(temp)
    for field, slope in ((temp, density.get_drhodT), (salt, density.get_drhodS)):
        of_it = jnp.broadcast_to(slope(state, salt, temp, jnp.abs(vs.zt)), field.shape)
        gradient = gradient.at[..., :-1].add(of_it[..., :-1] * jnp.diff(field, axis=-1) / vs.dzw[:-1])
    above = gradient**2 / (gradient**2 + neutral**2)
    below = jnp.concatenate([above[..., :1], above[..., :-1]], axis=-1)

    def of_both_columns(axis: int) -> Any:
        here = jnp.stack([below, above], axis=-1)
        return jnp.stack([here, jnp.roll(here, -1, axis)], axis=-2)

    east, north = of_both_columns(0), of_both_columns(1)
    one = above[..., None, None]
    return {
        "Ai_ez": east,
        "Ai_nz": north,
        "Ai_bx": one,
        "Ai_by": one,
        "K_11": east.mean(axis=(-2, -1)),
        "K_22": north.mean(axis=(-2, -1)),
        "K_33": above,
    }
