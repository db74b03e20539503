"""Whether an MPI launcher has started this process, as one of how many. Loads nothing, so that the
command line can ask first of all.
"""

from __future__ import annotations

import os

# Where MPICH and its relatives, PMIx (Slurm), Open MPI and MVAPICH tell a process its rank.
_NAMES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def launched_rank() -> int | None:
    """This process's rank where a launcher (mpiexec, srun) has started it, else None."""
    return next((int(os.environ[name]) for name in _NAMES if name in os.environ), None)


def leads() -> bool:
    """Whether this is the process that speaks: the first, or the only one."""
    return not launched_rank()
