"""Random static INT8 encoders, operator by operator as the exporter writes them."""

import os
import subprocess

import numpy as np
import tflite_files

schema = tflite_files.schema
PADDING = -1e4


RUN_THERE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate

library, *seeds = sys.argv[1:]
for seed in seeds:
    values, outputs = np.load(f"{seed}.npz"), {}
    for name, options in (("stock", None), ("delegate", {"force": "all", "live_tokens": "never"})):
        delegates = [load_delegate(library, options)] if options else None
        file = Interpreter(f"{seed}.tflite", experimental_delegates=delegates, num_threads=1)
        file.allocate_tensors()
        for detail in file.get_input_details():
            file.set_tensor(detail["index"], values[detail["name"]])
        file.invoke()
        for detail in file.get_output_details():
            outputs[f"{name}/{detail['name']}"] = file.get_tensor(detail["index"])
    np.savez(f"{seed}.out.npz", **outputs)
"""


def run_there(python, library, folder, seeds, environment):
    """Run encoders, every part shown, without and with the delegate on an emulated processor.

    Args:
        python: command of its Python, which finds LiteRT and numpy.
        library: the delegate.
        folder: to work in; the encoders stay there as SEED.tflite, their inputs as SEED.npz.
        seeds: of the encoders.
        environment: variables for it.

    Yields:
        Seed, outputs by name without the delegate, and with it.
    """
    for seed in seeds:
        encoder = EncoderFile(seed, shows_all=True)
        (folder / f"{seed}.tflite").write_bytes(encoder.content)
        np.savez(folder / f"{seed}.npz", **encoder.values(is_padded_behind=seed % 3 != 0))
    subprocess.run(
        [*python, "-c", RUN_THERE, library, *map(str, seeds)],
        cwd=folder, check=True, timeout=900, env=os.environ | environment,
    )  # fmt: skip
    for seed in seeds:
        outputs = dict(np.load(folder / f"{seed}.out.npz"))
        stock, delegate = (
            {name.removeprefix(kind): v for name, v in outputs.items() if name.startswith(kind)}
            for kind in ("stock/", "delegate/")
        )
        yield seed, stock, delegate


class EncoderFile:
    """One random encoder: x, y [1, S, H] float and mask [1, 1, 1, S] -> its last LayerNorm.

    Legend: S tokens, A heads of D, H = A * D.
    """

    def __init__(self, seed, *, dims=(32, 64), shows_all=False):
        self.rng = rng = np.random.default_rng(seed)
        self.tokens = int(rng.integers(1, 161))
        self.dim = int(rng.choice(dims))
        self.heads = int(rng.integers(1, 4))
        self.hidden, self.neurons = self.heads * self.dim, 32 * int(rng.integers(1, 9))
        self.layers = int(rng.integers(1, 3))
        self.file = tflite_files.FileBuilder()
        self.seen = []
        x, y = (self._float(f"in{i}", [1, self.tokens, self.hidden]) for i in range(2))
        self.mask = self._float("mask", [1, 1, 1, self.tokens])
        self.inputs = [x, y, self.mask]
        hidden, quantized = self._normalize(self._binary("ADD", x, y))
        for _ in range(self.layers):
            context = self._attention(quantized)
            hidden, quantized = self._residual(hidden, self._layer(context, self.hidden))
            up = self._gelu(self._layer(quantized, self.neurons))
            hidden, quantized = self._residual(hidden, self._layer(up, self.hidden))
        # INT8 results of every part, of which no file of the exporter shows any.
        for place, tensor in enumerate(self.file.graph.tensors):
            if place not in self.inputs:
                tensor.name += f" {place}".encode()
        outputs = [hidden, *(t for t in self.seen if shows_all and t != hidden)]
        self.content = self.file.finish(self.inputs, outputs)

    def values(self, *, is_padded_behind=True):
        """Inputs by name; some tokens are masked."""
        rng = self.rng
        shape = [1, self.tokens, self.hidden]
        live = np.arange(self.tokens) < rng.integers(1, self.tokens + 1)
        if not is_padded_behind:
            live = rng.random(self.tokens) < 0.5
        self.live = live
        scale = rng.uniform(0.3, 3)
        return {
            "in0": rng.normal(0, scale, shape).astype(np.float32),
            "in1": rng.normal(0.2, 1, shape).astype(np.float32),
            "mask": ((1 - live) * np.float32(PADDING)).astype(np.float32)[None, None, None],
        }

    # ---- Operators

    def _float(self, name, shape, data=None):
        return self.file.tensor(name, shape, np.float32, data=data)

    def _ints(self, values):
        return self.file.tensor("ints", [len(values)], np.int32, data=values)

    def _bytes(self, shape, scale=None, zero=None):
        zero = int(self.rng.integers(-20, 21)) if zero is None else zero
        scale = float(scale or self.rng.uniform(0.01, 0.05))
        return self.file.tensor("q", shape, np.int8, scales=[scale], zero_points=[zero])

    def _shape(self, tensor):
        return list(self.file.graph.tensors[tensor].shape)

    def _scale(self, tensor):
        return float(self.file.graph.tensors[tensor].quantization.scale[0])

    def _op(self, name, inputs, output, options=None, version=1):
        self.file.operator(name, inputs, [output], version=version, options=options)
        return output

    def _binary(self, name, a, b):
        options = getattr(schema, f"{name.title()}OptionsT")()
        output = self._float(name, max(self._shape(a), self._shape(b), key=np.prod))
        return self._op(name, [a, b], output, options)

    def _dequantize(self, tensor):
        out = self._float("float", self._shape(tensor))
        return self._op("DEQUANTIZE", [tensor], out, version=2)

    def _quantize(self, tensor, **quantization):
        return self._op("QUANTIZE", [tensor], self._bytes(self._shape(tensor), **quantization))

    def _layer(self, x, outputs):
        rng, inputs = self.rng, self._shape(x)[-1]
        zeros = rng.choice([0.3, 0.7, 0.9])
        kernel = rng.integers(-127, 128, [outputs, inputs]) * (
            rng.random([outputs, inputs]) > zeros
        )
        scales = rng.uniform(0.5, 1, outputs) * 0.02
        w = self.file.tensor(
            "w", kernel.shape, np.int8, data=kernel, scales=scales, zero_points=[0] * outputs
        )
        bias = rng.integers(-500, 500, outputs)
        b = self.file.tensor(
            "b",
            [outputs],
            np.int32,
            data=bias,
            scales=self._scale(x) * scales,
            zero_points=[0] * outputs,
        )
        spread = 50 * self._scale(x) * 73 * 0.015 * np.sqrt(max(1, inputs * (1 - zeros)))
        out = self._bytes([*self._shape(x)[:-1], outputs], spread / rng.uniform(20, 60))
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        self._op("FULLY_CONNECTED", [x, w, b], out, options, version=5)
        self.seen.append(out)
        return out

    def _split(self, x, permutation, zero):
        """[1, S, H] -> heads; keys and values have zero point 0."""
        quantization = self.file.graph.tensors[x].quantization
        if zero is not None:
            quantization.zeroPoint = np.array([zero], np.int64)
        same = {"scale": self._scale(x), "zero": int(quantization.zeroPoint[0])}
        split = self._bytes([1, self.tokens, self.heads, self.dim], **same)
        options = schema.ReshapeOptionsT()
        self._op("RESHAPE", [x, self._ints(self._shape(split))], split, options)
        shape = [self._shape(split)[i] for i in permutation]
        out = self._bytes(shape, **same)
        self._op("TRANSPOSE", [split, self._ints(permutation)], out, schema.TransposeOptionsT())
        return out

    def _product(self, a, b, scale, **quantization):
        shape = [*self._shape(a)[:-1], self._shape(b)[-2]]
        options = schema.BatchMatMulOptionsT()
        options.adjY = True
        out = self._bytes(shape, scale, **quantization)
        return self._op("BATCH_MATMUL", [a, b], out, options, version=2)

    def _attention(self, x):
        q, k, v = (self._layer(x, self.hidden) for _ in range(3))
        q = self._split(q, [0, 2, 1, 3], None)
        k = self._split(k, [0, 2, 1, 3], 0)
        spread = 40 * 40 * self._scale(q) * self._scale(k) * np.sqrt(self.dim)
        # Scores of a few units: neither even nor of one key alone.
        factor = self.rng.uniform(0.5, 4) / spread
        self.file.graph.tensors[q].quantization.scale *= np.float32(factor)
        for operator in self.file.graph.operators:
            if q in operator.outputs:
                split = int(operator.inputs[0])
        whole = next(
            int(o.inputs[0]) for o in self.file.graph.operators if split in list(o.outputs)
        )
        for tensor in (split, whole):
            self.file.graph.tensors[tensor].quantization = self.file.graph.tensors[q].quantization
        scores = self._product(q, k, spread * factor / 40)
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        masked = self._binary("ADD", self._dequantize(scores), self.mask)
        probabilities = self._float("p", self._shape(masked))
        self._op("SOFTMAX", [masked], probabilities, options)
        quantized = self._quantize(probabilities, scale=1 / 255, zero=-128)
        v = self._split(v, [0, 2, 3, 1], 0)
        mixed = self._product(quantized, v, self._scale(v) / self.rng.uniform(1, 3))
        zero = int(self.file.graph.tensors[mixed].quantization.zeroPoint[0])
        same = {"scale": self._scale(mixed), "zero": zero}
        merged = self._bytes([1, self.tokens, self.heads, self.dim], **same)
        self._op("TRANSPOSE", [mixed, self._ints([0, 2, 1, 3])], merged, schema.TransposeOptionsT())
        out = self._bytes([self.tokens, self.hidden], **same)
        self._op("RESHAPE", [merged, self._ints(self._shape(out))], out, schema.ReshapeOptionsT())
        self.seen.append(out)
        return out

    def _gelu(self, x):
        y = self._float("gelu", self._shape(x))
        options = schema.GeluOptionsT()
        options.approximate = bool(self.rng.random() < 0.3)
        self._op("GELU", [self._dequantize(x)], y, options)
        out = self._quantize(y, scale=self._scale(x) * 0.6, zero=int(self.rng.integers(-128, -90)))
        self.seen.append(out)
        return out

    def _residual(self, hidden, x):
        return self._normalize(self._binary("ADD", hidden, self._dequantize(x)))

    def _normalize(self, x):
        shape, rng = [1, self.tokens, self.hidden], self.rng
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axis = self._ints([2])
        few = [1, self.tokens, 1]
        mean = self._op("MEAN", [x, axis], self._float("mean", few), options)
        squares = self._op(
            "SQUARED_DIFFERENCE",
            [x, mean],
            self._float("squares", shape),
            schema.SquaredDifferenceOptionsT(),
        )
        variance = self._op("MEAN", [squares, axis], self._float("variance", few), options)
        epsilon = self._float("epsilon", [], np.array(1e-12, np.float32))
        root = self._op("RSQRT", [self._binary("ADD", variance, epsilon)], self._float("root", few))
        centred = self._binary("SUB", x, mean)
        scaled = self._binary("MUL", centred, root)
        gamma = self._float("gamma", [self.hidden], rng.uniform(0.5, 1.5, self.hidden))
        beta = self._float("beta", [self.hidden], rng.normal(0, 0.3, self.hidden))
        hidden = self._binary("ADD", self._binary("MUL", scaled, gamma), beta)
        quantized = self._quantize(hidden, scale=rng.uniform(0.02, 0.04))
        self.seen += [hidden, quantized]
        return hidden, quantized
