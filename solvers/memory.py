"""The memory that there is, and the memory that the factors of a sparse matrix take, known before it is factorised.

Partial pivoting chooses rows by their values, so the entries of sparse LU are known only once it is done. A bound is
known from the pattern and the order of the columns alone: where column k is eliminated, any row that has an entry there
may be the pivot, so all of them are given the union of their patterns (A. George and E. Ng, SIAM J. Sci. Stat. Comput.
8 (1987), 877-898).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix

SHARE = 0.5  # of the memory that factors may take: the model and what is in hand while factorising need the rest
BYTES = 12  # of an entry of SuperLU's factors in double precision: a number and its row
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = float("inf")


def usable() -> float:
    """How many bytes factors may take: a share of what this process may use at all.

    Not of what is free at the moment: that is another amount every time, and a resumed run would be another run.
    """
    return SHARE * min(installed(), address_space(), container())


def installed() -> float:
    """Bytes of memory of the machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNLIMITED


def address_space() -> float:
    """Bytes that `ulimit -v` allows; infinite where it sets no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return UNLIMITED if soft == resource.RLIM_INFINITY else float(soft)


def container(membership: Path = Path("/proc/self/cgroup"), root: Path = CGROUPS) -> float:
    """Bytes that the control groups of this process allow, of version 1 and 2; infinite where they set no limit."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return UNLIMITED
    limits = [UNLIMITED]
    for line in lines:
        _, kind, group = line.split(":", 2)
        if kind and "memory" not in kind.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if kind else (root, "memory.max")
        inside = Path(group.lstrip("/"))
        for folder in (inside, *inside.parents):
            try:
                limits.append(float((base / folder / name).read_text()))
            except (OSError, ValueError):  # not seen from in here, or "max"
                continue
    return min(limits)


def sparse_bytes(matrix: Any, enough: float = UNLIMITED) -> float:
    """At most how many bytes SuperLU's factors of the sparse matrix (n, n) take, whatever the pivots, in the order of
    columns that it chooses; beyond `enough`, some number beyond.

    Takes about as long as factorising a small matrix, less for large ones. Raises SingularMatrix.
    """
    from scipy.sparse import csr_array

    pattern = csr_array(matrix)
    pattern.sum_duplicates()
    n = pattern.shape[0]
    columns = column_order(pattern)[pattern.indices]
    rows = [np.sort(columns[a:b]) for a, b in zip(pattern.indptr[:-1], pattern.indptr[1:], strict=True)]
    waiting: list[list[np.ndarray]] = [[] for _ in range(n)]  # patterns whose first column is k
    alike = np.zeros(n, dtype=int)  # rows that have one of these patterns
    for row in rows:
        waiting[row[0]].append(row)
        alike[row[0]] += 1
    entries = 0
    for k in range(n):
        union = np.unique(np.concatenate(waiting[k]))
        waiting[k] = []
        entries += int(alike[k]) + len(union) - 1
        if entries * BYTES > enough:
            break
        if alike[k] > 1 and len(union) > 1:
            waiting[union[1]].append(union[1:])
            alike[union[1]] += alike[k] - 1
    return float(entries * BYTES)


def column_order(pattern: Any) -> np.ndarray:
    """The place that SuperLU gives each column, (n,). Raises SingularMatrix where no values make the pattern regular.

    It follows from the pattern alone, and comes with incomplete factors too: here of a matrix that is nearly a
    permutation, of which all else is dropped at once.
    """
    from scipy.sparse import csc_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.sparse.linalg import spilu

    matched = maximum_bipartite_matching(pattern, perm_type="column")
    if (matched < 0).any():
        raise SingularMatrix("a row or a column of the matrix is empty, or they are too much alike")
    nearly = pattern.copy()
    row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    nearly.data = np.where(pattern.indices == matched[row], 1.0, 1e-9)
    return spilu(csc_array(nearly), drop_tol=1e-3, fill_factor=1).perm_c
