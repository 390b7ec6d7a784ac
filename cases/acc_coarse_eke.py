"""The coarse Southern Ocean with eddies that answer: Veros' `acc`, prognostic eddy kinetic energy, at 4 degrees.

The thickness diffusivity follows the eddy kinetic energy, which follows the stratification. Neither is in the operator
that the implicit steps use: the relaxation after each step lets them answer.

Run it with `spinup run acc-coarse-eke`.
"""

import spinup

# --- the model -----------------------------------------------------------------------------------


def setup():
    """The Veros setup: `acc`, all but the grid, the steps and the viscosity as bundled."""
    from veros import veros_routine
    from veros.core.operators import at, update
    from veros.setups.acc.acc import ACCSetup

    def bundled(name):  # what the parent's routine does, without its own start-up
        return ACCSetup.__dict__[name].function

    class ACCCoarseEKE(ACCSetup):
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

    return ACCCoarseEKE


# --- T: one year ---------------------------------------------------------------------------------


def build():
    """The map of a year of 366 days; salinity is uniform and stays so: temperature alone is accelerated."""
    return spinup.VerosMap(setup, period="1 year", days_per_year=366, accelerate=("temp",))


# --- the case ------------------------------------------------------------------------------------

CASE = spinup.Case(
    name="acc-coarse-eke",
    title="Southern Ocean sector at 4 degrees with prognostic eddies (Veros acc)",
    build=build,
    method="auto",
    budget="20 years",
    tolerance="0.05 K",
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/acc-coarse-eke"))
