"""How fast does a coarse Southern Ocean reach its equilibrium?

Veros' `acc_basic` (an Atlantic sector with a re-entrant channel, wind and temperature restoring) at
4 degrees: 15 x 21 x 15 cells, about a second of computing per model year. Direct integration takes some
2500 years to a steady state; the page "How it works" of the documentation has the table.

Run it with `spinup run acc-coarse`.
"""

import spinup

# --- the model -----------------------------------------------------------------------------------


def setup():
    """The Veros setup: `acc_basic`, all but the grid, the steps and the viscosity as bundled."""
    from veros import veros_routine
    from veros.core.operators import at, update
    from veros.setups.acc_basic.acc_basic import ACCBasicSetup

    def bundled(name):  # what the parent's routine does, without its own start-up
        return ACCBasicSetup.__dict__[name].function

    class ACCCoarse(ACCBasicSetup):
        @veros_routine
        def set_parameter(self, state):
            bundled("set_parameter")(self, state)
            settings = state.settings
            settings.nx, settings.ny, settings.nz = 15, 21, 15
            settings.dt_mom = 4800.0  # s; 7200 s blows up
            settings.dt_tracer = 86400.0  # s
            settings.A_h = (4 * settings.degtom) ** 3 * 2e-11  # m2 s-1, lateral viscosity

        @veros_routine
        def set_grid(self, state):
            bundled("set_grid")(self, state)
            vs = state.variables
            vs.dxt = update(vs.dxt, at[...], 4.0)  # degrees
            vs.dyt = update(vs.dyt, at[...], 4.0)  # degrees

    return ACCCoarse


# --- T: one year ---------------------------------------------------------------------------------


def build():
    """The map of a year of 366 days; salinity is uniform and stays so: temperature alone is accelerated."""
    return spinup.VerosMap(setup, period="1 year", days_per_year=366, accelerate=("temp",))


# --- the case ------------------------------------------------------------------------------------

CASE = spinup.Case(
    name="acc-coarse",
    title="Southern Ocean sector at 4 degrees (Veros acc_basic)",
    build=build,
    method="auto",  # implicit steps on tracers and circulation together: this map allows it
    budget="20 years",
    tolerance="0.02 K",  # estimated distance to equilibrium, in two residuals in a row
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/acc-coarse"))
