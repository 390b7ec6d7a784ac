"""The global ocean at 1 degree, with seasons, temperature and salinity: to be run on many ranks.

Veros' `global_1deg` as bundled: 360 x 160 x 115 cells, steps of half an hour, monthly wind, heat flux and surface
salinity, a year of 360 days. Its forcing is fetched once:

    spinup fetch-forcing global-1deg

or, for idealised files of the same format: spinup fetch-forcing global-1deg --synthetic forcing, and what it says then.
A year takes days on one core, and the states of a run tens of gigabytes: see the documentation, "Large systems", for
what was measured, and what hardware it asks for.

    mpiexec -n 128 spinup run global-1deg --wall-time "23 hours"
"""

import spinup


def build():
    files = spinup.forcing_files("global_1deg")

    def setup():
        from veros.setups.global_1deg import global_1deg

        global_1deg.DATA_FILES = files.paths
        return global_1deg.GlobalOneDegreeSetup

    return spinup.VerosMap(
        setup,
        period="1 year",
        days_per_year=360,
        seasonal=True,
        accelerate=("temp", "salt"),
        settings={"description": f"Global ocean at 1 degree, forcing {files.origin}"},
    )


CASE = spinup.Case(
    name="global-1deg",
    title="The global ocean at 1 degree (Veros global_1deg)",
    build=build,
    method="auto",
    budget="40 years",
    tolerance="0.1 K",
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/global-1deg"))
