"""Generators as ONNX files, so that they run where Python does not: in the reader's browser.

``python -m acgan_lib.widgets.export`` writes one file for each generator among the checkpoints,
into ``book/_static/models``; `make book` does it before it builds the pages. A file takes z,
float32 (n, latent_dim), and class *weights* w, float32 (n, K), so that classes can be mixed; it
returns images, float32 (n, C, H, W) in [-1, 1], for any n.

Needs ``pip install acgan-lib[export]``: onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import argparse
import copy
import io
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from acgan_lib import _files, latent, zoo
from acgan_lib.families.diffusion import Flow
from acgan_lib.nets import ConditionalGenerator

FORMAT = 1  # in every file's name: raise it when the same checkpoint gives another file
OPSET = 18
# Classes whose checkpoints are exported as they are.
DRAW = ("Generator", "GrowingGenerator", "TextGenerator", "UNet", "Translator")
LIMIT = {False: 1e-5, True: 2 / 255}  # largest difference to torch by `half`: one of 256 levels


class Export(NamedTuple):
    """A written file: its size, and how far its pixels may be from torch's, in [-1, 1]."""

    path: Path
    bytes: int
    difference: float


def to_onnx(G: nn.Module, path: str | Path, *, half: bool = False) -> Export:
    """Write a generator as ONNX and compare it with torch on random inputs.

    Spectral norm, weight norm and other parametrisations become the weights that they give. Batch
    norms are folded: into the convolution before them where there is one, else into a factor and
    an offset for each channel. With `half` the weights are stored as float16, which halves the
    file; the arithmetic stays float32.

    Args:
        G: a module with ``from_weights(z, w)``, `latent_dim` and `num_classes`, such as a subclass
            of acgan_lib.nets.ConditionalGenerator; its modes and weights are left as they are.
            Without classes, the file takes z alone.
        path: of the file, ``~`` allowed; replaced in one step, once the check has passed.
        half: store weights as float16.

    Raises:
        TypeError: if G has no ``from_weights``, or uses what ONNX cannot express.
        ValueError: if the file's pixels differ from torch's by more than 1e-5, or 2/255 with
            `half`; or G draws something else than images.
        OSError: if the file cannot be written; the old one stays.
    """
    inputs = random_inputs(G, 3)
    # This raises what is wrong with G itself. It also leaves no weight of an old spectral norm in
    # the graph of a training step, where it could not be copied.
    latent.generate_mixed(G, *inputs)
    content = _convert(_FromWeights(folded(G), int(G.num_classes)), inputs, half)  # type: ignore[arg-type]
    difference = compare(G, content)
    if not difference <= LIMIT[half]:
        raise ValueError(f"the file's pixels differ from torch's by {difference:.1e}: not written")
    path = _files.expand(path)
    _files.write(path, content)
    return Export(path, len(content), difference)


def random_inputs(G: nn.Module, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return z (n, latent_dim) from N(0, 1) and class weights (n, K) that add up to 1."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, int(G.latent_dim), generator=generator)  # type: ignore[arg-type]
    w = torch.rand(n, int(G.num_classes), generator=generator)  # type: ignore[arg-type]
    return z, w / w.sum(1, keepdim=True)


def compare(G: nn.Module, content: bytes) -> float:
    """Return the largest difference between an ONNX file's pixels and G's, at n = 1 and 7."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    worst, still = 0.0, _eval_copy(G)
    for n in (1, 7):
        inputs = random_inputs(G, n, seed=n)
        fed = {name: x.numpy() for name, x in zip(names, inputs, strict=False)}
        (seen,) = session.run(None, fed)
        with torch.no_grad():
            gap = torch.from_numpy(seen) - still.from_weights(*inputs)
        worst = max(worst, float(gap.abs().max()))
    return worst


def folded(G: nn.Module) -> nn.Module:
    """Return a copy of G in eval mode, float32, on the CPU: no parametrisation, no batch norm."""
    G = _eval_copy(G)
    _bake(G)
    for module in list(G.modules()):
        if isinstance(module, nn.Sequential):
            _fold_into_convolutions(module)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, _Affine(*_scale_and_shift(child)))
    return G


def _eval_copy(G: nn.Module) -> Any:
    return copy.deepcopy(G).cpu().float().eval().requires_grad_(False)


def _bake(G: nn.Module) -> None:
    """Replace each weight that is computed from others, as under spectral norm, by its value."""
    for part in G.modules():
        for hook in list(part._forward_pre_hooks.values()):  # how torch.nn.utils once did it
            if isinstance(hook, SpectralNorm):
                remove_spectral_norm(part, hook.name)
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)
    for part in filter(parametrize.is_parametrized, list(G.modules())):
        # torch's remove_parametrizations changes the class, which a copy shares with its original.
        names: Any = part.parametrizations
        values = {name: getattr(part, name) for name in names}
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        for name, value in values.items():
            part.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _fold_into_convolutions(layers: nn.Sequential) -> None:
    """Fold each batch norm into the convolution before it, or before it and a pixel shuffle."""
    for i, norm in enumerate(layers):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        scale, shift = _scale_and_shift(norm)
        before = layers[i - 1] if i else None
        if isinstance(before, nn.PixelShuffle) and i > 1:
            # The shuffle deals each map out from r * r neighbouring ones.
            factor = before.upscale_factor**2
            scale, shift = scale.repeat_interleave(factor), shift.repeat_interleave(factor)
            before = layers[i - 2]
        if not isinstance(before, nn.Conv2d | nn.ConvTranspose2d) or before.groups != 1:
            continue
        out = 1 if isinstance(before, nn.ConvTranspose2d) else 0  # the dimension of output maps
        shape = [1, 1, 1, 1]
        shape[out] = -1
        before.weight = nn.Parameter(before.weight * scale.view(shape), requires_grad=False)
        bias = 0 if before.bias is None else before.bias
        before.bias = nn.Parameter(bias * scale + shift, requires_grad=False)
        layers[i] = nn.Identity()


def _scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a batch norm without running statistics depends on its batch: no export")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale * (1 if norm.weight is None else norm.weight.double())
    shift = (0 if norm.bias is None else norm.bias.double()) - norm.running_mean.double() * scale
    return scale.float(), shift.float()


class Velocity(nn.Module):
    """A flow as `to_onnx` takes a generator: z is a place on the way and its time, (n, C H W + 1).

    The "images" of its file are velocities (n, C, H, W); class weights of 0 ask for no class.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow, self.num_classes = flow, flow.num_classes
        self.shape = (flow.channels, flow.image_size, flow.image_size)
        self.latent_dim = math.prod(self.shape) + 1

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """Return the velocity, float (n, C, H, W)."""
        x = z[:, :-1].view(-1, *self.shape)
        return self.flow(x, z[:, -1], weights)  # type: ignore[no-any-return]


class _Affine(nn.Module):
    """A factor and an offset for each channel: a batch norm whose statistics are constants."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.shift = nn.Parameter(shift, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (x.ndim - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)


class _FromWeights(nn.Module):
    """A generator's ``from_weights`` as the call that is traced."""

    def __init__(self, G: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.G, self.num_classes = G, num_classes

    def forward(self, z: Tensor, w: Tensor | None = None) -> Tensor:
        weights = z.new_zeros(z.shape[0], 0) if w is None else w
        if isinstance(self.G, ConditionalGenerator):  # its own checks ask for a number, not for n
            return self.G.draw(torch.cat([z, weights], dim=1) if self.num_classes else z)
        images: Tensor = self.G.from_weights(z, weights)  # type: ignore[operator]
        return images


def _convert(model: _FromWeights, inputs: tuple[Tensor, Tensor], half: bool) -> bytes:
    """Trace a module with a free batch size and return the ONNX file's bytes."""
    import onnx

    given = inputs if model.num_classes else inputs[:1]
    names = ["z", "w"][: len(given)]
    batch = torch.export.Dim("n")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations, not ours to mend
            program = torch.onnx.export(
                model,
                given,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=["images"],
                dynamic_shapes=tuple({0: batch} for _ in given),
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TypeError(f"{type(model.G).__name__} cannot be written as ONNX: {reason}") from error
    assert program is not None
    proto = program.model_proto
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise TypeError(
            f"{type(model.G).__name__} takes the batch's size as a number, such as len(z), which "
            "would fix it in the file: use z.shape[0], or shapes with -1"
        )
    proto.producer_name, proto.producer_version, proto.doc_string = "acgan_lib", "", ""
    for node in proto.graph.node:
        del node.metadata_props[:]  # the exporter notes stack traces, with this machine's paths
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    if half:
        _store_as_half(proto)
    onnx.checker.check_model(proto)
    buffer = io.BytesIO()
    onnx.save_model(proto, buffer)
    return buffer.getvalue()


def _store_as_half(proto: Any) -> None:
    """Keep float32 matrices and kernels as float16, each with a cast back before its first use."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        name, tensor_name = tensor.name, f"{tensor.name}.half"
        if not np.isfinite(values.astype(np.float16)).all():
            raise ValueError(f"{name} has weights beyond float16's range (65504)")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor_name))
        casts.append(helper.make_node("Cast", [tensor_name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def file_name(name: str, folder: Path | None = None) -> str:
    """Return what a checkpoint's file is called: name, the weights' hash, the format's number."""
    return f"{name}-{zoo.manifest(name, folder)['sha256'][:8]}-{FORMAT}.onnx"


def generators(folder: Path | None = None) -> list[str]:
    """Return the names of the checkpoints that are generators, sorted."""
    return _of_classes(DRAW, folder)


def _of_classes(classes: Sequence[str], folder: Path | None) -> list[str]:
    return [n for n in zoo.names(folder) if zoo.manifest(n, folder)["class"] in classes]


def export_all(target: str | Path, checkpoints: Path | None = None) -> list[Export]:
    """Bring the folder `target` up to date: a file for each generator and each flow's `Velocity`.

    Those that are there are kept.

    Returns the files written now. Files of checkpoints that have changed or gone are removed.
    """
    target = _files.expand(target)
    names = [*generators(checkpoints), *_of_classes(["Flow"], checkpoints)]
    wanted = {file_name(name, checkpoints): name for name in names}
    written = []
    for file, name in wanted.items():
        if not (target / file).is_file():
            G = zoo.load(name, folder=checkpoints)
            G = Velocity(G) if isinstance(G, Flow) else G
            written.append(to_onnx(G, target / file, half=True))
    for old in target.glob("*.onnx"):
        if old.name not in wanted:
            old.unlink()
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Export every generator among the checkpoints."""
    parser = argparse.ArgumentParser(prog="python -m acgan_lib.widgets.export", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("book", "_static", "models"))
    for done in export_all(parser.parse_args(arguments).out):
        gap = f"pixels within {done.difference:.1e} of torch"
        print(f"{done.path.name}: {done.bytes:,} bytes, {gap}")


if __name__ == "__main__":
    main()
