"""The coarse Southern Ocean of `acc-coarse` under a wind that never rests.

The zonal wind stress is that of the setup times 1 + 0.2 n(t), n red noise of unit variance with a memory of a year. No
state is a fixed point of such a year: what is looked for is the mean state that direct integration would wander about,
with its standard error. The map tells the mean of n(t) over each year, which is 0 in the long run: what these years'
wind happened to be is then taken out of the mean state.

Run it with `spinup run acc-coarse-wind`.
"""

from functools import cache

import numpy as np

import spinup

# --- the model -----------------------------------------------------------------------------------

STRENGTH = 0.2  # standard deviation of the wind, as a share of its mean
MEMORY = 366.0  # days
HOLD = 6  # days for which the wind stays the same
YEARS = 4096  # after which the noise repeats


@cache
def red_noise():
    """n(t), one number for every HOLD days: a first-order autoregressive process of unit variance."""
    from scipy.signal import lfilter

    keep = np.exp(-HOLD / MEMORY)
    shocks = np.random.default_rng(2026).standard_normal(round(YEARS * 366 / HOLD))
    return lfilter([np.sqrt(1 - keep**2)], [1, -keep], shocks)


def setup():
    """The Veros setup: `acc_basic` at 4 degrees, under a noisy wind."""
    from veros import veros_routine
    from veros.core.operators import at, update
    from veros.core.operators import numpy as npx
    from veros.setups.acc_basic.acc_basic import ACCBasicSetup

    def bundled(name):  # what the parent's routine does, without its own start-up
        return ACCBasicSetup.__dict__[name].function

    noise = red_noise()

    class ACCCoarseWind(ACCBasicSetup):
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
        def set_initial_conditions(self, state):
            bundled("set_initial_conditions")(self, state)
            self.mean_wind = state.variables.surface_taux

        @veros_routine
        def set_forcing(self, state):
            bundled("set_forcing")(self, state)
            vs = state.variables
            number = npx.floor(vs.time / (HOLD * 86400.0)).astype(int) % len(noise)
            vs.surface_taux = self.mean_wind * (1 + STRENGTH * npx.asarray(noise)[number])

    return ACCCoarseWind


def wind_of_the_year(state):
    """Mean of n(t) over the year that ends with a state."""
    end = round(float(state["time"]) / (HOLD * 86400))
    return np.take(red_noise(), np.arange(end - 366 // HOLD, end), mode="wrap").mean()


# --- T: one year ---------------------------------------------------------------------------------


def build():
    """The map of a year of 366 days, every one of which has another wind."""
    return spinup.VerosMap(
        setup,
        period="1 year",
        days_per_year=366,
        accelerate=("temp",),
        diagnostics={"wind": ("1", "wind of the year, in standard deviations of the noise", wind_of_the_year)},
        control_variates=("wind",),
    )


# --- the case ------------------------------------------------------------------------------------

CASE = spinup.Case(
    name="acc-coarse-wind",
    title="Southern Ocean sector at 4 degrees, under a noisy wind",
    build=build,
    method="auto",
    budget="40 years",
    tolerance="0.02 K",
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/acc-coarse-wind"))
