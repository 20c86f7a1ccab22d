"""What formats of released families share: configs, Lightning files with averages, sizes from tensors."""

from .averages import averaged
from .config import read_config, says
from .family import FamilyFormat, Process
from .lightning import Lightning, read_lightning
from .writing import expressible, inexpressible

__all__ = [
    "FamilyFormat",
    "Lightning",
    "Process",
    "averaged",
    "expressible",
    "inexpressible",
    "read_config",
    "read_lightning",
    "says",
]
