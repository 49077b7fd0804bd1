"""Auto-annotation of CVAT tasks with machine-learning models, orchestrated by Prefect."""

from prefect_cvat import models
from prefect_cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError

__all__ = ["Client", "PrefectCvatError", "models"]
