"""Whether an MPI launcher started this process, and which rank it gave. Imports nothing heavy, so
the command line can ask before anything else.
"""

from __future__ import annotations

import os

# Where MPICH and its relatives, PMIx (Slurm), Open MPI and MVAPICH put a process's rank.
_NAMES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def launched_rank() -> int | None:
    """This process's rank if a launcher (mpiexec, srun) started it, else None."""
    return next((int(os.environ[name]) for name in _NAMES if name in os.environ), None)


def leads() -> bool:
    """Whether this process prints: the first of several, or the only one."""
    return not launched_rank()
