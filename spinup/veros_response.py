"""What a time step of Veros makes of perturbed tracers, which their operator is found by (`veros_operator`)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spinup.state import State
from spinup.veros_circulation import without_halo
from spinup.veros_operator import FORWARD_EULER, Coefficients
from spinup.veros_setup import traceable
from spinup.veros_slopes import Slopes, none_held, slope_shares, slopes_held

#: A full state and perturbations (m, tracers, nz, ny, nx) to the changes after a step, and coefficients (nz, ny, nx).
Respond = Callable[[State, Any], tuple[np.ndarray, Coefficients]]


def make_respond(
    setup: Any,
    veros_state: Callable[[State], Any],
    tracers: Sequence[str],
    as_veros: Callable[[Any], Any],
    neutral: float,
) -> Respond:
    """The change of tracers after one forward-Euler step, for many perturbations, and the mixing coefficients and
    density slopes of the unperturbed step; compiled.

    veros_state: a full state as Veros' own object. as_veros: a field (nz, ny, nx) as Veros has it, 0 on land.
    neutral: vertical density gradient below which isoneutral slopes are held, kg m-4.
    """
    import jax
    import jax.numpy as jnp
    from veros.core import density

    @jax.jit  # traced once, for the unperturbed step and the others
    def one_step(markov: State, held: Slopes, shares: Slopes) -> tuple[Any, Coefficients, Slopes]:
        state = veros_state(markov)
        settings, vs = state.settings, state.variables
        of_density = [jnp.take(getattr(vs, n), vs.tau, axis=-1) for n in ("salt", "temp")]
        slopes = {
            "drho_dtemp": density.get_drhodT(state, *of_density, jnp.abs(vs.zt)),
            "drho_dsalt": density.get_drhodS(state, *of_density, jnp.abs(vs.zt)),
        }
        usual = settings.AB_eps
        with settings.unlock():
            settings.AB_eps = FORWARD_EULER
        try:
            with traceable(), slopes_held(held, shares) as own:
                setup.step(state)
        finally:
            with settings.unlock():
                settings.AB_eps = usual
        mixing = {"kappaH": vs.kappaH, "kappaM": vs.kappaM}
        mixing["K_33"] = vs.K_33 if settings.enable_neutral_diffusion else jnp.zeros_like(vs.kappaH)
        after = [jnp.take(getattr(vs, n), vs.tau, axis=-1) for n in tracers]
        coefficients = {
            name: without_halo(jnp.broadcast_to(value, vs.maskT.shape)).T for name, value in (mixing | slopes).items()
        }
        return jnp.stack([without_halo(a).T for a in after]), coefficients, own

    @jax.jit
    def respond(markov: State, perturbations: Any) -> tuple[Any, Coefficients]:
        state = veros_state(markov)
        shares = slope_shares(state, neutral)
        base, coefficients, held = one_step(markov, *none_held(state, shares))

        def change(perturbation: Any) -> Any:
            other = dict(markov)
            for name, field in zip(tracers, perturbation, strict=True):
                other[name] = other[name] + as_veros(field)[..., None]
            return one_step(other, held, shares)[0] - base

        return jax.lax.map(change, perturbations), coefficients

    def host(markov: State, perturbations: Any) -> tuple[np.ndarray, Coefficients]:
        changes, coefficients = respond(markov, perturbations)
        return np.asarray(changes), {name: np.asarray(value) for name, value in coefficients.items()}

    return host
