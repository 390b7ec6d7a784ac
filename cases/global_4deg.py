"""The global ocean at 4 degrees, with seasons, temperature and salinity: how far is its initial state from equilibrium?

Veros' `global_4deg` as bundled: 90 x 40 x 15 cells, monthly wind, heat flux and surface salinity, a year of 360 days,
eddies by a prognostic eddy kinetic energy. Its forcing is fetched once:

    spinup fetch-forcing global-4deg

or, for idealised files of the same format: spinup fetch-forcing global-4deg --synthetic forcing, and what it says then.
"""

import spinup


def build():
    files = spinup.forcing_files("global_4deg")

    def setup():
        from veros.setups.global_4deg import global_4deg

        global_4deg.DATA_FILES = files.paths
        return global_4deg.GlobalFourDegreeSetup

    return spinup.VerosMap(
        setup,
        period="1 year",
        days_per_year=360,
        seasonal=True,
        accelerate=("temp", "salt"),
        settings={"description": f"Global ocean at 4 degrees, forcing {files.origin}"},
    )


CASE = spinup.Case(
    name="global-4deg",
    title="The global ocean at 4 degrees (Veros global_4deg)",
    build=build,
    method="auto",
    start_periods=20,  # before, the state changes so fast that no operator holds for long
    budget="100 years",
    tolerance="0.1 K",
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/global-4deg"))
