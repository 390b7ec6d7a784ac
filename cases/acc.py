"""The same ocean as `acc-coarse`, as bundled with Veros: 2 degrees, 30 x 42 x 15 cells, 732 steps a year."""

import spinup


def build():
    # salinity is uniform and stays so: temperature alone is accelerated
    return spinup.VerosMap("acc_basic", period="1 year", days_per_year=366, accelerate=("temp",))


CASE = spinup.Case(
    name="acc",
    title="Southern Ocean sector at 2 degrees (Veros acc_basic as bundled)",
    build=build,
    method="auto",
    budget="10 years",
    tolerance="0.05 K",  # estimated distance to equilibrium, in two residuals in a row
)

if __name__ == "__main__":
    print(spinup.run(CASE, out="runs/acc"))
