"""What formats of released families share: configs, Lightning files with averages, sizes from tensors, decoders."""

from .averages import averaged
from .config import read_config, says
from .decoder import DecoderFormat
from .family import FamilyFormat, Process
from .lightning import Lightning, read_lightning
from .writing import expressible, inexpressible

__all__ = [
    "DecoderFormat",
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
