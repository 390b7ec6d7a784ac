"""The coarse Southern Ocean of `acc-coarse` under a yearly cycle of surface temperature.

The temperature that the surface is restored to swings by 3 K about its mean, opposite in the two hemispheres. The
equilibrium is a cycle, T the map of a year, its fixed point the cycle's state at one date.

Run it with `spinup run acc-coarse-seasonal`.
"""

import spinup

# --- the model -----------------------------------------------------------------------------------

YEAR = 366  # days
SWING = 3.0  # K, of the temperature that the surface is restored to


def setup():
    """The Veros setup: `acc_basic` at 4 degrees, with seasons."""
    from veros import veros_routine
    from veros.core.operators import at, update
    from veros.core.operators import numpy as npx
    from veros.setups.acc_basic.acc_basic import ACCBasicSetup

    def bundled(name):  # what the parent's routine does, without its own start-up
        return ACCBasicSetup.__dict__[name].function

    class ACCCoarseSeasonal(ACCBasicSetup):
        @veros_routine
        def set_parameter(self, state):
            bundled("set_parameter")(self, state)
            settings = state.settings
            settings.nx, settings.ny, settings.nz = 15, 21, 15
            settings.dt_mom = 4800.0  # s
            settings.dt_tracer = 86400.0  # s
            settings.A_h = (4 * settings.degtom) ** 3 * 2e-11  # m2 s-1, lateral viscosity

        @veros_routine
        def set_grid(self, state):
            bundled("set_grid")(self, state)
            vs = state.variables
            vs.dxt = update(vs.dxt, at[...], 4.0)  # degrees
            vs.dyt = update(vs.dyt, at[...], 4.0)  # degrees

        @veros_routine
        def set_forcing(self, state):
            bundled("set_forcing")(self, state)
            vs = state.variables
            season = npx.sin(2 * npx.pi * vs.time / (YEAR * 86400.0)) * npx.sign(vs.yt)
            vs.forc_temp_surface = vs.forc_temp_surface + vs.t_rest * SWING * season[npx.newaxis, :]

    return ACCCoarseSeasonal


# --- T: one year ---------------------------------------------------------------------------------


def build():
    """The map of a year of 366 days; `seasonal` has residuals taken over whole years."""
    return spinup.VerosMap(setup, period="1 year", days_per_year=YEAR, accelerate=("temp",), seasonal=True)


# --- the case ------------------------------------------------------------------------------------

CASE = spinup.Case(
    name="acc-coarse-seasonal",
    title="Southern Ocean sector at 4 degrees, with seasons",
    build=build,
    method="auto",
    budget="30 years",
    tolerance="0.05 K",
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/acc-coarse-seasonal"))
