"""The coarse Southern Ocean of `acc-coarse` with a salinity of its own: both tracers to their equilibrium.

Surface salinity is restored within 30 days, as temperature is: fresh near the poles, salty in the subtropics. What
salinity does to density slows the way to equilibrium: direct integration takes thousands of years.

Run it with `spinup run acc-coarse-salt`.
"""

import spinup

# --- the model -----------------------------------------------------------------------------------


def setup():
    """The Veros setup: `acc_basic` at 4 degrees, surface salinity restored."""
    from veros import veros_routine
    from veros.core.operators import at, update
    from veros.core.operators import numpy as npx
    from veros.setups.acc_basic.acc_basic import ACCBasicSetup

    def bundled(name):  # what the parent's routine does, without its own start-up
        return ACCBasicSetup.__dict__[name].function

    class ACCCoarseSalt(ACCBasicSetup):
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
            subtropics = npx.exp(-(((npx.abs(vs.yt) - 20.0) / 15.0) ** 2))
            s_star = 34.0 + 2.0 * subtropics  # psu, by latitude
            vs.forc_salt_surface = vs.t_rest * (s_star[npx.newaxis, :] - vs.salt[:, :, -1, vs.tau])

    return ACCCoarseSalt


# --- T: one year ---------------------------------------------------------------------------------


def build():
    """The map of a year of 366 days, temperature and salinity accelerated."""
    return spinup.VerosMap(setup, period="1 year", days_per_year=366)


# --- the case ------------------------------------------------------------------------------------

CASE = spinup.Case(
    name="acc-coarse-salt",
    title="Southern Ocean sector at 4 degrees, temperature and salinity",
    build=build,
    method="auto",
    budget="30 years",
    tolerance="0.05 K",
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/acc-coarse-salt"))
