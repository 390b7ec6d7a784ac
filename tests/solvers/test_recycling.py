"""A preconditioner that is exact on what it has seen."""

import numpy as np

from solvers import InnerProduct
from solvers.inner import EUCLIDEAN
from solvers.recycling import learn

random = np.random.default_rng(4)
N = 12
A = np.eye(N) + 0.3 * random.normal(size=(N, N))
P = np.eye(N) + 0.1 * random.normal(size=(N, N))
WEIGHTS = random.uniform(0.5, 2, N)


def pairs(m):
    return [(z, A @ z) for z in random.normal(size=(m, N))]


def learnt_from(known, inner):
    """The preconditioner that P becomes."""
    learnt = learn(known, inner)
    return lambda v: learnt.apply(lambda v: P @ v, v, inner.gram(learnt.images, [v])[:, 0])


def test_it_is_exact_on_the_images_and_leaves_alone_what_is_orthogonal_to_them():
    inner, known = InnerProduct(WEIGHTS), pairs(5)
    apply = learnt_from(known, inner)
    for z, c in known:
        np.testing.assert_allclose(apply(c), z, rtol=0, atol=1e-12)
    images = np.stack([c for _, c in known], axis=1)
    v = random.normal(size=N)
    v -= images @ np.linalg.lstsq(images * np.sqrt(WEIGHTS)[:, None], v * np.sqrt(WEIGHTS), rcond=None)[0]
    np.testing.assert_allclose(apply(v), P @ v, rtol=0, atol=1e-12)


def test_what_is_known_of_every_direction_is_the_inverse():
    apply = learnt_from(pairs(N), EUCLIDEAN)
    v = random.normal(size=N)
    np.testing.assert_allclose(apply(v), np.linalg.solve(A, v), rtol=0, atol=1e-10)


def test_the_first_of_pairs_that_say_the_same_counts():
    (z, c), (other, _) = pairs(2)
    apply = learnt_from([(z, c), (other, 2 * c), (0 * z, 0 * c)], EUCLIDEAN)
    np.testing.assert_allclose(apply(c), z, rtol=0, atol=1e-12)
    assert np.isfinite(apply(other)).all()


def test_without_pairs_it_is_what_it_was():
    v = random.normal(size=N)
    np.testing.assert_array_equal(learnt_from([], EUCLIDEAN)(v), P @ v)
