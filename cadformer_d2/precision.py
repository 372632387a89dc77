"""Devices and dtypes by the names that configs and commands use."""

from __future__ import annotations

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Return the device of a name, if this machine has it and the project supports it.

    Args:
        name: "cpu", "cuda", "cuda:1", ...

    Raises:
        ValueError: no such device; the message says what there is.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    usable = ["cpu", *(["cuda"] if num_gpus else []), *(f"cuda:{n}" for n in range(num_gpus))]
    usable += ["mps"] if torch.backends.mps.is_available() else []
    if name in usable:
        return torch.device(name)
    if name.startswith("cuda") and not num_gpus:
        raise ValueError(f"{name!r} needs a CUDA GPU, and this machine has no usable one")
    raise ValueError(f"{name!r} is not a device of this machine; known: {', '.join(usable)}")


def refuse_unusable_format(device: torch.device, name: str) -> None:
    """Raise ValueError if a dtype is unknown, or is float16 on a CPU."""
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    if name == "float16" and device.type == "cpu":
        raise ValueError("float16 needs a GPU; use bfloat16 on a CPU")


def autocast(device: torch.device, name: str) -> torch.autocast:
    """Mixed precision on a device: matrix products in the named dtype, norms and sums in float32.

    Args:
        name: of DTYPES; "float32" disables mixed precision.

    Raises:
        ValueError: another name, or float16 on a CPU.
    """
    refuse_unusable_format(device, name)
    return torch.autocast(device.type, dtype=DTYPES[name], enabled=name != "float32")


def cast_product_weights(model: nn.Module, name: str) -> None:
    """Cast, in place, the weights that autocast would otherwise round at every use.

    Results under autocast stay bit-identical; it saves a copy of each weight in each forward pass.
    For inference only.

    Args:
        name: of DTYPES.
    """
    dtype = DTYPES[name]
    for module in model.modules():
        # Leave modules with another forward alone: it may use a weight outside a product.
        if type(module).forward in (nn.Linear.forward, nn.Conv2d.forward):
            weights = (module.weight, module.bias)
        elif type(module) is nn.MultiheadAttention:
            weights = (module.in_proj_weight, module.in_proj_bias)
        else:
            continue
        for parameter in weights:
            if isinstance(parameter, nn.Parameter) and parameter.dtype == torch.float32:
                parameter.data = parameter.data.to(dtype)
