"""Fixed-point maps with known answers, shared by the tests. Each takes and gives flat vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csc_array, diags_array

from solvers import Evaluate, Operator, StepOperator

Array = Any
CELLS, STEPS = 60, 40  # of `diffusion`


@dataclass(frozen=True, eq=False)
class Problem:
    """T and a start x0, shape (n,), NumPy; `map(xp)` is T for another array library."""

    x0: np.ndarray
    map: Callable[[Any], Callable[[Array], Array]]
    solution: np.ndarray | None = None

    @property
    def T(self) -> Callable[[np.ndarray], np.ndarray]:
        return self.map(np)


def linear(J: np.ndarray, solution: np.ndarray, x0: np.ndarray) -> Problem:
    """T(x) = solution + J (x - solution)."""
    b = solution - J @ solution

    def map(xp: Any) -> Callable[[Array], Array]:
        A, c = xp.asarray(J), xp.asarray(b)
        return lambda x: A @ x + c

    return Problem(x0, map, solution)


def known_spectrum(eigenvalues: np.ndarray, seed: int, *, normal: bool = False) -> Problem:
    """A linear map whose Jacobian has these eigenvalues, with eigenvectors of moderate condition (or orthogonal)."""
    n = len(eigenvalues)
    random = np.random.default_rng(seed)
    V = np.linalg.qr(random.normal(size=(n, n)))[0]
    if not normal:
        V = V @ (np.eye(n) + np.triu(random.normal(size=(n, n)), 1) / n)
    return linear(V @ np.diag(eigenvalues) @ np.linalg.inv(V), random.normal(size=n), random.normal(size=n))


def krylov_basis(A, r, k):
    """Orthonormal vectors that span r, A r, ..., A^(k-1) r, (n, k)."""
    basis, v = np.empty((len(r), 0)), r
    for _ in range(k):
        for _ in range(2):
            v = v - basis @ (basis.T @ v)
        basis = np.column_stack([basis, v / np.linalg.norm(v)])
        v = A @ basis[:, -1]
    return basis


def gmres(A, b, x0, k):
    """The k-th GMRES iterate for A x = b: the least residual over x0 + span(r, A r, ..., A^(k-1) r), r = b - A x0."""
    basis = krylov_basis(A, b - A @ x0, k)
    return x0 + basis @ np.linalg.lstsq(A @ basis, b - A @ x0, rcond=None)[0]


def h_equation(n: int = 512, c: float = 0.99) -> Problem:
    """Chandrasekhar's H-equation, composite midpoint rule, from H = 1.

    H(μ) = (1 - (c/2) ∫_0^1 μ H(ν) / (μ + ν) dν)^-1.
    C. T. Kelley, Solving Nonlinear Equations with Iterative Methods, SIAM 2022, chapter 2; A. Toth and C. T. Kelley,
    SIAM J. Numer. Anal. 53 (2015), 805-819, section 3.
    """
    mu = (np.arange(n) + 0.5) / n
    kernel = c / (2 * n) * mu[:, None] / (mu[:, None] + mu)

    def map(xp: Any) -> Callable[[Array], Array]:
        A = xp.asarray(kernel)
        return lambda H: 1.0 / (1.0 - A @ H)

    return Problem(np.ones(n), map)


def convection_diffusion(n: int = 63) -> Problem:
    """-∇²u + 20 u (u_x + u_y) = f on the unit square, u = 0 on its edge, n x n interior points, from u = 0.

    Centred differences; f from the exact u = 10 x y (1 - x) (1 - y) exp(x^4.5); made a fixed-point map by the
    inverse of the discrete -∇² from the left: T(u) = u - (-∇²)^-1 F(u) = (-∇²)^-1 (f - 20 u (u_x + u_y)).
    C. T. Kelley, Solving Nonlinear Equations with Iterative Methods, SIAM 2022, chapters 3 and 4.
    Indices [i, j] are x, y.
    """
    h = 1 / (n + 1)
    t = np.arange(1, n + 1) * h
    e = np.exp(t**4.5)
    # w = 10 q e with q = t - t²; e' = s e, s = 4.5 t^3.5
    q, dq, s, ds = t * (1 - t), 1 - 2 * t, 4.5 * t**3.5, 15.75 * t**2.5
    w, dw = 10 * e * q, 10 * e * (dq + s * q)
    ddw = 10 * e * (-2 + 2 * s * dq + (ds + s * s) * q)
    exact, x_slope, y_slope = np.outer(w, q), np.outer(dw, q), np.outer(w, dq)
    source = -(np.outer(ddw, q) - 2 * np.outer(w, np.ones(n))) + 20 * exact * (x_slope + y_slope)

    # -∇² is diagonal in sines: eigenvalues of the second difference, and the orthonormal sine transform.
    k = np.arange(1, n + 1)
    eigenvalue = 4 / h**2 * np.sin(k * np.pi * h / 2) ** 2
    S = np.sqrt(2 * h) * np.sin(np.pi * h * np.outer(k, k))
    D = (np.eye(n, k=1) - np.eye(n, k=-1)) / (2 * h)

    def map(xp: Any) -> Callable[[Array], Array]:
        Sx, Dx, f = xp.asarray(S), xp.asarray(D), xp.asarray(source)
        inverse = xp.asarray(1 / (eigenvalue[:, None] + eigenvalue))

        def relaxed(flat: Array) -> Array:
            u = xp.reshape(flat, (n, n))
            rest = f - 20.0 * u * (Dx @ u - u @ Dx)  # D is antisymmetric: u Dᵀ = -u D
            return xp.reshape(Sx @ (inverse * (Sx @ rest @ Sx)) @ Sx, (n * n,))

        return relaxed

    return Problem(np.zeros(n * n), map, exact.ravel())


def kinsol_analytic() -> Problem:
    """Three equations with the solution (1/2, 1, -π/6), as the fixed-point example of SUNDIALS' KINSOL states them.

    x = cos((y - 1) z) / 3 + 1/6;  y = sqrt(x² + sin z + 1.06) / 9 + 0.9;  z = -exp(-x (y - 1)) / 20 - (10 π - 3) / 60
    """

    def map(xp: Any) -> Callable[[Array], Array]:
        def solved_for_each(u: Array) -> Array:
            x, y, z = u[0], u[1], u[2]
            return xp.stack(
                [
                    xp.cos((y - 1.0) * z) / 3 + 1 / 6,
                    xp.sqrt(x * x + xp.sin(z) + 1.06) / 9 + 0.9,
                    -xp.exp(-x * (y - 1.0)) / 20 - (10 * np.pi - 3) / 60,
                ]
            )

        return solved_for_each

    return Problem(np.array([0.1, 0.1, -0.1]), map, np.array([0.5, 1.0, -np.pi / 6]))


def diffusion(known=1.0):
    """T, 40 steps of forward Euler for u' = D u + f, D the Laplacian; the operator of a share of D; the answer."""
    A = csc_array(0.2 * diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(CELLS, CELLS)))
    f = np.linspace(0, 1, CELLS)

    def T(x):
        for _ in range(STEPS):
            x = x + A @ x + f
        return x

    return T, StepOperator(csc_array(known * A), STEPS), np.linalg.solve(-A.toarray(), f)


def conversation(flow, T, operator, evaluations):
    """Its requests and the replies, up to so many evaluations; and how it ended, None where it did not."""
    found, reply, made = [], None, 0
    try:
        while made < evaluations:
            request = flow.send(reply)
            match request:
                case Evaluate(x):
                    reply, made = T(x), made + 1
                case Operator():
                    reply = operator
                case _:
                    reply = None
            found.append((request, reply))
    except StopIteration as end:
        return found, end.value
    return found, None


def evaluated(found):
    """The vectors of a conversation that T was asked for."""
    return [request.x for request, _ in found if isinstance(request, Evaluate)]


def stored(value):
    """What a checkpoint holds as it comes back from a file: NumPy, lists stacked to one array and cut again, nothing
    shared."""
    if isinstance(value, list):
        return list(np.array([np.asarray(v) for v in value]))
    return np.array(value) if hasattr(value, "shape") else value


def write_protect(state):
    """Every NumPy array of a checkpoint."""
    for value in state.values():
        for array in value if isinstance(value, list) else [value]:
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
