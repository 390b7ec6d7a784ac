"""The grid and the friction of a Veros setup, for the circulation's balance."""

from typing import Any

import numpy as np

from spinup.circulation import CGrid

GHOST = 2  # width of Veros' halo


def no_balance(settings: Any) -> str:
    """Why this setup has no linear balance of its circulation here, in words; "" where it has one."""
    lacking = {
        "biharmonic friction": settings.enable_biharmonic_friction,
        "quadratic bottom friction": settings.enable_quadratic_bottom_friction,
        "no-slip lateral boundaries": settings.enable_noslip_lateral,
        "isoneutral momentum friction (enable_TEM_friction)": settings.enable_TEM_friction,
        "Rayleigh damping": settings.enable_ray_friction,
    }
    return ", ".join(name for name, there in lacking.items() if there)


def without_halo(array: Any) -> Any:
    """A field (x, y, ...), NumPy's or JAX's, without its halo."""
    return array[GHOST:-GHOST, GHOST:-GHOST]


def interior(array: Any) -> np.ndarray:
    """The same as NumPy's, (..., y, x)."""
    return np.asarray(without_halo(np.asarray(array))).T


def halo_off(array: Any) -> np.ndarray:
    """A coordinate without its halo."""
    return np.asarray(array)[GHOST:-GHOST]


def c_grid(variables: Any, settings: Any) -> CGrid:
    """The grid of a Veros state, `no_balance` of whose settings is ""."""
    vs = variables

    def x(array: Any) -> np.ndarray:
        return halo_off(array)[None, None, :]

    def y(array: Any) -> np.ndarray:
        return halo_off(array)[None, :, None]

    def z(array: Any) -> np.ndarray:
        return np.asarray(array)[:, None, None]

    viscosity = float(settings.A_h) if settings.enable_hor_friction else 0.0
    power = float(settings.hor_friction_cosPower) if settings.enable_hor_friction_cos_scaling else 0.0
    everywhere = np.ones((1, 1, 1))
    drag_u = drag_v = everywhere * (float(settings.r_bot) if settings.enable_bottom_friction else 0.0)
    if settings.enable_bottom_friction and settings.enable_bottom_friction_var:
        drag_u, drag_v = interior(vs.r_bot_var_u)[None], interior(vs.r_bot_var_v)[None]
    return CGrid(
        mask=interior(vs.maskT) > 0.5,
        mask_u=interior(vs.maskU) > 0.5,
        mask_v=interior(vs.maskV) > 0.5,
        dxt=x(vs.dxt),
        dxu=x(vs.dxu),
        dyt=y(vs.dyt),
        dyu=y(vs.dyu),
        dzt=z(vs.dzt),
        dzw=z(vs.dzw),
        cos_t=y(vs.cost),
        cos_u=y(vs.cosu),
        coriolis=interior(vs.coriolis_t)[None],
        viscosity_t=viscosity * y(vs.cost) ** power,
        viscosity_u=viscosity * y(vs.cosu) ** power,
        drag_u=drag_u,
        drag_v=drag_v,
        gravity=float(settings.grav),
        density=float(settings.rho_0),
        cyclic=bool(settings.enable_cyclic_x),
    )
