"""The vector of a state that lies on JAX's devices, where it stays: on one of them, or spread over several.

Every device holds the ocean cells of its own part of each variable, packed, in the vector too: no number crosses from
one device to another where a state becomes a vector or a vector a state, and the vectors of a method, differences of
these, are spread as the state is. The parts of the vector are of one length, as JAX asks for: the shorter ones end in
zeros, of weight 0. Of a variable that several devices hold the same part of, each has a share of the cells in its part
of the vector; only there is something exchanged, when the vector becomes a state.

On one device the vector is the one that `Layout` knows, cell by cell. On several its cells are in another order; what
a run keeps of it (`on_host`) is in that of `Layout`, so that it can be resumed on any number of devices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from solvers import InnerProduct
from spinup.errors import UsageError
from spinup.state import Fields, Layout


def shardings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """How the arrays of a state lie on devices, by name: a `jax.sharding.NamedSharding` of one mesh for all of them.

    Those of the start where it has some; its other arrays are then whole on every device. Otherwise one device, that
    JAX takes; empty where that is the processor, whose memory is the host's.

    Raises UsageError where they are spread in another way, or not all devices are of this process."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    arrays = {name: value.sharding for name, value in values.items() if isinstance(value, jax.Array)}
    spread = {n: sharding for n, sharding in arrays.items() if isinstance(sharding, NamedSharding)}
    for name, sharding in arrays.items():
        if name not in spread and len(sharding.device_set) > 1:
            raise UsageError(
                f"start: {name!r} is spread over devices by a {type(sharding).__name__}: "
                "spread it by jax.device_put(array, jax.sharding.NamedSharding(mesh, ...))"
            )
        if not sharding.is_fully_addressable:
            raise UsageError(f"start: {name!r} is spread over several processes: use the devices of one, or MPI")
    meshes = {name: sharding.mesh for name, sharding in spread.items()}
    first = next(iter(meshes), None)
    if first is None:
        device: Any = next(iter(next(iter(arrays.values()), jax.numpy.zeros(()).sharding).device_set))
        if device.platform == "cpu":
            return {}
        return dict.fromkeys(values, NamedSharding(Mesh([device], ("device",)), PartitionSpec()))
    for name, mesh in meshes.items():
        if mesh != meshes[first]:
            raise UsageError(f"start: {name!r} and {first!r} are spread over different meshes: use one for all arrays")
    whole = NamedSharding(meshes[first], PartitionSpec())
    return {name: spread.get(name, whole) for name in values}


@dataclass(frozen=True, eq=False)
class DeviceLayout(Layout):
    """A `Layout` whose vectors are JAX arrays, and whose fields are, too. `size`, `slices` and all that says where a
    cell is are of the vector in the host's order.

    shardings: of every variable, from `shardings_of`.
    """

    shardings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def host(self) -> Layout:
        return Layout(self.variables, self.coords)

    def pack(self, fields: Mapping[str, Any]) -> Any:
        """Fields on the grid to the vector. Raises ValueError where a shape is wrong."""
        import jax

        parts = []
        for v in self.variables:
            if np.shape(fields[v.name]) != v.shape:
                raise ValueError(f"{v.name} has shape {np.shape(fields[v.name])}, expected {v.shape}")
            parts.append(jax.device_put(fields[v.name], self._fields_at[v.name]))
        return self._pack(self._taken, *parts)

    def unpack(self, x: Any, fill: float = np.nan) -> Fields:
        """The vector to fields on the grid, `fill` on land."""
        found = self._unpack(self._put, x, np.float64(fill))
        return {v.name: values for v, values in zip(self.variables, found, strict=True)}

    def on_host(self, x: Any) -> np.ndarray:
        """The vector as NumPy's, (size,), in the order of `Layout`: what a run keeps."""
        return np.asarray(x)[self._order]

    def placed(self, x: Any) -> Any:
        """A vector in the order of `Layout`, (size,), on the devices."""
        import jax

        return jax.device_put(self._padded(np.asarray(x)), self._vector_at)

    def logged(self, x: Any) -> Any:
        """The vector itself: it is brought to the host when the log is written."""
        return x

    @cached_property
    def inner(self) -> InnerProduct:
        return InnerProduct(self.placed(self.host.inner.weights))

    @cached_property
    def bounds(self) -> tuple[Any, Any] | None:
        whole = self.host.bounds
        return None if whole is None else (self.placed(whole[0]), self.placed(whole[1]))

    def rms(self, x: Any) -> dict[str, float]:
        """Volume-weighted rms of each variable of the vector x, in the variable's units."""
        squares = np.asarray(self._sums[1](self._which, self.inner.weights, x)) * self._per_weight
        return {v.name: float(np.sqrt(square)) for v, square in zip(self.variables, squares, strict=True)}

    def means(self, x: Any) -> dict[str, float]:
        """Volume mean of each variable of the vector x, in the variable's units."""
        means = np.asarray(self._sums[0](self._which, self.inner.weights, x)) * self._per_weight
        return {v.name: float(mean) for v, mean in zip(self.variables, means, strict=True)}

    def check_finite(self, x: Any) -> None:
        """Raise ModelFailure naming the first element of x that is not finite."""
        import jax.numpy as jnp

        if not bool(jnp.isfinite(x).all()):
            self.host.check_finite(self.on_host(x))

    # --- where each cell is ----------------------------------------------------------------------

    @cached_property
    def _mesh(self) -> Any:
        """The devices, named as the user did; of the kind in which JAX finds out itself how a result is spread."""
        from jax.sharding import Mesh

        mesh = next(iter(self.shardings.values())).mesh
        return Mesh(mesh.devices, mesh.axis_names)

    @cached_property
    def _fields_at(self) -> dict[str, Any]:
        from jax.sharding import NamedSharding

        return {name: NamedSharding(self._mesh, sharding.spec) for name, sharding in self.shardings.items()}

    @cached_property
    def _vector_at(self) -> Any:
        from jax.sharding import NamedSharding, PartitionSpec

        return NamedSharding(self._mesh, PartitionSpec(self._mesh.axis_names))

    @cached_property
    def _cells(self) -> "_Cells":
        blocks = []
        for v in self.variables:
            where = self.shardings[v.name].devices_indices_map(v.shape)
            found = [where[device] for device in self._mesh.devices.flat]
            blocks.append([tuple(slice(*s.indices(n)) for s, n in zip(b, v.shape, strict=True)) for b in found])
        return _Cells(self.host, blocks)

    @property
    def _order(self) -> np.ndarray:
        """Where in the vector each of its numbers is that the host's has."""
        return self._cells.order

    def _padded(self, x: np.ndarray) -> np.ndarray:
        room = np.zeros(self._cells.taken.size, x.dtype)
        room[self._order] = x
        return room

    @cached_property
    def _taken(self) -> Any:
        return self._index(self._cells.taken)

    @cached_property
    def _put(self) -> Any:
        return self._index(self._cells.put)

    def _index(self, parts: np.ndarray) -> Any:
        """Indices, (devices, many), each device's on it."""
        import jax

        return jax.device_put(parts.ravel(), self._vector_at)

    @cached_property
    def _which(self) -> Any:
        """The number of the variable that each element is of."""
        import jax

        sizes = [v.size for v in self.variables]
        kind = np.int8 if len(sizes) < 128 else np.int32
        return jax.device_put(self._padded(np.repeat(np.arange(len(sizes), dtype=kind), sizes)), self._vector_at)

    @cached_property
    def _per_weight(self) -> np.ndarray:
        """The share of its variable's volume that an element is, in units of its weight, by variable."""
        return np.array([v.scale**2 * len(self.variables) for v in self.variables])

    # --- what is compiled ------------------------------------------------------------------------

    @cached_property
    def _pack(self) -> Any:
        import jax
        import jax.numpy as jnp

        def pack(taken: Any, *fields: Any) -> Any:
            flat = jnp.concatenate([jnp.ravel(jnp.asarray(f, jnp.float64)) for f in fields])
            return flat.at[taken].get(mode="fill", fill_value=0.0)

        specs = [self.shardings[v.name].spec for v in self.variables]
        vector = self._vector_at.spec
        return jax.jit(jax.shard_map(pack, mesh=self._mesh, in_specs=(vector, *specs), out_specs=vector))

    @cached_property
    def _unpack(self) -> Any:
        import jax
        import jax.numpy as jnp

        shapes, length = self._cells.shapes, self._cells.taken.shape[1]
        ends = np.cumsum([prod(shape) for shape in shapes])
        shared = [_unused(self._mesh, self.shardings[v.name]) for v in self.variables]

        def unpack(put: Any, x: Any, fill: Any) -> tuple[Any, ...]:
            found = []
            for shape, end, axes in zip(shapes, ends, shared, strict=True):
                at = put[end - prod(shape) : end]
                values, land = x.at[at].get(mode="fill", fill_value=0.0), at > length
                if axes:
                    values, land = jax.lax.psum((values, land.astype(jnp.int8)), axes)
                    land = land > 0
                found.append(jnp.where(land, fill, values).reshape(shape))
            return tuple(found)

        from jax.sharding import PartitionSpec

        specs = tuple(self.shardings[v.name].spec for v in self.variables)
        vector = self._vector_at.spec
        in_specs = (vector, vector, PartitionSpec())
        return jax.jit(jax.shard_map(unpack, mesh=self._mesh, in_specs=in_specs, out_specs=specs))

    @cached_property
    def _sums(self) -> tuple[Any, Any]:
        """Of weight times x, and of weight times x squared, by variable."""
        import jax
        import jax.numpy as jnp

        def sums(which: Any, parts: Any) -> Any:
            return jnp.stack([jnp.sum(jnp.where(which == i, parts, 0.0)) for i in range(len(self.variables))])

        return jax.jit(lambda which, w, x: sums(which, w * x)), jax.jit(lambda which, w, x: sums(which, w * x * x))


class _Cells:
    """Which cells each device has in its part of the vector. blocks: by variable and device, its part of the grid.

    taken: (devices, length), for each element of a device's part of the vector the cell of its fields, these flat and
    one after the other; none such beyond the last. put: (devices, cells), for each of these cells the element; `length`
    where another device has it, more on land. order: (size,), where in the vector each element of the host's is.
    shapes: of a device's part of each variable.
    """

    def __init__(self, layout: Layout, blocks: list[list[tuple[slice, ...]]]) -> None:
        devices = len(blocks[0])
        self.shapes = [tuple(s.stop - s.start for s in of_variable[0]) for of_variable in blocks]
        cells = sum(prod(shape) for shape in self.shapes)
        held: list[list[np.ndarray]] = [[] for _ in range(devices)]  # cells of the device's fields
        known: list[list[np.ndarray]] = [[] for _ in range(devices)]  # the same elements of the host's vector
        land = np.zeros((devices, cells), bool)
        before = 0
        for v, of_variable, shape in zip(layout.variables, blocks, self.shapes, strict=True):
            number = np.full(v.shape, -1)
            number[v.mask] = np.arange(v.size) + layout.slices[v.name].start
            for d, block in enumerate(of_variable):
                alike = [other for other in range(devices) if of_variable[other] == block]
                inside = number[block].ravel()
                ocean = np.flatnonzero(inside >= 0)
                mine = ocean[np.arange(len(ocean)) * len(alike) // max(1, len(ocean)) == alike.index(d)]
                held[d].append(mine + before)
                known[d].append(inside[mine])
                land[d, before : before + prod(shape)] = inside < 0
            before += prod(shape)
        lengths = [sum(map(len, of_device)) for of_device in held]
        length = max(lengths)
        kind = np.int32 if max(cells, length) < 2**31 - 2 else np.int64
        self.taken = np.full((devices, length), cells, kind)
        self.put = np.where(land, length + 1, length).astype(kind)
        self.order = np.empty(layout.size, np.int64)
        for d in range(devices):
            own = np.concatenate(held[d])
            self.taken[d, : lengths[d]] = own
            self.put[d, own] = np.arange(lengths[d])
            self.order[np.concatenate(known[d])] = d * length + np.arange(lengths[d])


def _unused(mesh: Any, sharding: Any) -> tuple[str, ...]:
    """The mesh's axes along which every device holds the same."""
    used = {
        axis for part in sharding.spec if part is not None for axis in (part if isinstance(part, tuple) else (part,))
    }
    return tuple(axis for axis in mesh.axis_names if axis not in used)
