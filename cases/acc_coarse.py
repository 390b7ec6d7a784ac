from spinup.veros_map import VerosMap, configure_veros
configure_veros()
from veros import veros_routine
from veros.core.operators import at, update
from veros.setups.acc_basic.acc_basic import ACCBasicSetup

class ACCCoarse(ACCBasicSetup):
    @veros_routine
    def set_parameter(self, state):
        ACCBasicSetup.__dict__["set_parameter"].function(self, state)
        settings = state.settings
        settings.nx, settings.ny, settings.nz = 15, 21, 15
        settings.dt_mom, settings.dt_tracer = 4800.0, 86400.0
        settings.A_h = (4 * settings.degtom) ** 3 * 2e-11

    @veros_routine
    def set_grid(self, state):
        ACCBasicSetup.__dict__["set_grid"].function(self, state)
        vs = state.variables
        vs.dxt = update(vs.dxt, at[...], 4.0)
        vs.dyt = update(vs.dyt, at[...], 4.0)
