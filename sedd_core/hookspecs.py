"""The hooks: one a stage. A plugin implements one of them, with no arguments, and returns its class."""

# pyright: reportReturnType=false
# A specification has no body: pluggy calls only what plugins implement.

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:  # plugins are listed without the contracts, and so without torch
    from .stages import Backbone, Data, Graph, Monitor, Noise, Sampler

PROJECT = "sedd"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def sedd_noise() -> type[Noise]:
    """The class of a noise schedule; the plugin's name is `noise_<variant>`."""


@hookspec
def sedd_graph() -> type[Graph]:
    """The class of a forward process; the plugin's name is `graph_<variant>`."""


@hookspec
def sedd_sampler() -> type[Sampler]:
    """The class of a sampler; the plugin's name is `sampler_<variant>`."""


@hookspec
def sedd_model() -> type[Backbone]:
    """The class of a backbone; the plugin's name is `model_<variant>`."""


@hookspec
def sedd_data() -> type[Data]:
    """The class of a data source; the plugin's name is `data_<variant>`."""


@hookspec
def sedd_monitor() -> type[Monitor]:
    """The class of a monitor; the plugin's name is `monitor_<variant>`."""
