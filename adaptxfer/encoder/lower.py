"""Reading a network of transformers, with what `adapters` or `peft` attached to it, into a flat program.

Neither library is imported: their layers are known by what they hold. Anything that is not known to be reproduced
exactly is refused with a reason, and the network's own forward pass is used.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from adaptxfer.encoder.program import Embeddings, Ending, Layer, Linear, Program
from adaptxfer.kernels.fusion import Fusion
from adaptxfer.kernels.lora_linear import Update
from adaptxfer.kernels.parts import Adapter, Norm

MODEL_TYPES = ("xlm-roberta", "roberta", "bert")
_ACTS = {"ReLU": "relu", "SiLU": "swish", "GELUActivation": "gelu"}


class Unsupported(Exception):
    """Why a network has no program."""


def lower(network: nn.Module) -> Program | str:
    """The program of a network as it stands: its active modules, and whether it trains (dropout) or not.

    Returns:
        The program, or a sentence that says what it does not cover. Forward hooks of the user's own do not run in it.
    """
    try:
        return _lower(_body(network))
    except Unsupported as reason:
        return str(reason)
    except (AttributeError, KeyError) as error:
        return f"a part of it is not as expected ({error})"


def _body(network: Any) -> Any:
    if hasattr(network, "peft_config") and hasattr(network, "get_base_model"):
        learned = any(config.is_prompt_learning for config in network.peft_config.values())
        _check(not learned, "prompts of peft are active")
        network = network.get_base_model()
    return getattr(network, "base_model", network)  # the encoder below a head of transformers


def _lower(body: Any) -> Program:
    config: Any = getattr(body, "config", None)
    kind = getattr(config, "model_type", type(body).__name__)
    _check(kind in MODEL_TYPES, f"models of type {kind} have another layer structure")
    _check(not hasattr(body.encoder.layer[0], "unshard"), "its weights are spread over processes")
    _check(not config.is_decoder, "decoders mask what comes later")
    _check(config.position_embedding_type == "absolute", "positions are relative")
    if hasattr(body, "get_invertible_adapter"):
        _check(not body.get_invertible_adapter(), "an invertible adapter is active")
    _check(_idle(getattr(body, "prompt_tuning", None)), "prompt tuning is active")
    return Program(_embeddings(body.embeddings), tuple(_layer(layer) for layer in body.encoder.layer))


def _check(fine: Any, reason: str) -> None:
    if not fine:
        raise Unsupported(reason)


def _idle(part: Any) -> bool:
    """Whether a layer of `adapters` has nothing to do in the active composition."""
    return part is None or not hasattr(part, "get_active_setup") or part.get_active_setup() is None


def _rate(dropout: nn.Module) -> float:
    return dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0


def _norm(module: nn.Module) -> Norm:
    _check(type(module) is nn.LayerNorm, f"{type(module).__name__} stands in for a LayerNorm")
    return Norm(module.weight, module.bias, module.eps)  # type: ignore[arg-type]


def _act(module: Any) -> str:
    name = _ACTS.get(type(module).__name__)
    _check(name, f"activation {type(module).__name__} has no formula here")
    _check(name != "gelu" or module.act is nn.functional.gelu, "an approximate gelu is set")
    return name  # type: ignore[return-value]


def _embeddings(part: Any) -> Embeddings:
    tables = (part.word_embeddings, part.position_embeddings, part.token_type_embeddings)
    for table in tables:
        _check(type(table) is nn.Embedding, f"{type(table).__name__} stands in for an embedding")
    roberta = hasattr(part, "padding_idx")
    padding = tables[0].padding_idx
    _check(not roberta or part.padding_idx == tables[1].padding_idx == padding, "the padding ids disagree")
    words, places, types = (table.weight for table in tables)
    return Embeddings(words, places, types, padding, roberta, _norm(part.LayerNorm), _rate(part.dropout))


def _layer(layer: Any) -> Layer:
    _check(_idle(getattr(layer, "reft_layer", None)), "ReFT is active")
    _check(not (layer.training and getattr(layer, "gradient_checkpointing", False)), "gradient checkpointing is on")
    attention, output = layer.attention.self, layer.attention.output
    _check(_idle(getattr(attention, "prefix_tuning", None)), "prefix tuning is active")
    return Layer(
        _linear(attention.query),
        _linear(attention.key),
        _linear(attention.value),
        attention.num_attention_heads,
        _rate(attention.dropout),
        _linear(output.dense),
        _ending(output),
        _linear(layer.intermediate.dense),
        _act(layer.intermediate.intermediate_act_fn),
        _linear(layer.output.dense),
        _ending(layer.output),
    )


def _linear(module: Any) -> Linear:
    if hasattr(module, "base_layer"):
        return _peft_linear(module)
    plain = type(module) is nn.Linear or (isinstance(module, nn.Linear) and hasattr(module, "get_active_setup"))
    _check(plain, f"{type(module).__name__} stands in for a linear layer")
    _check(_idle(module), "a LoRA of adapters is active")
    _check(not getattr(module, "fan_in_fan_out", False), "a weight is stored transposed")
    return Linear(module.weight, module.bias)


def _peft_linear(module: Any) -> Linear:
    base = _linear(module.base_layer)
    _check(hasattr(module, "lora_A"), f"{type(module).__name__} of peft is no LoRA")
    if module.disable_adapters or module.merged:
        _check(not (module.disable_adapters and module.merged), "a merged LoRA is disabled")
        return base
    names = [name for name in module.active_adapters if name in module.lora_A]
    return base._replace(updates=tuple(_update(module, name) for name in names))


def _update(module: Any, name: str) -> Update:
    a, b = module.lora_A[name], module.lora_B[name]
    _check(type(a) is nn.Linear and type(b) is nn.Linear, "a LoRA is not of the plain kind")
    _check(a.bias is None and b.bias is None, "a LoRA has a bias")
    _check(name not in getattr(module, "lora_variant", ()), "a variant of LoRA is active")
    _check(not getattr(module, "fan_in_fan_out", False), "a weight is stored transposed")
    return Update(a.weight, b.weight, float(module.scaling[name]), _rate(module.lora_dropout[name]))


def _ending(part: Any) -> Ending:
    """The end of a sub-layer, with its bottlenecks if it is one of `adapters`."""
    plain = Ending(_norm(part.LayerNorm), _rate(part.dropout))
    if _idle(part):
        return plain
    fusions: list[Fusion] = []
    adapters: list[Any] = []
    setup = part.get_active_setup()
    for child in setup if type(setup).__name__ == "Stack" else [setup]:
        kind = "Single" if isinstance(child, str) else type(child).__name__
        if kind == "Fuse" and not adapters:
            fusions.append(_fusion(part, child))
        elif kind == "Single":
            adapters += [part.adapters[child]] if child in part.adapters else []
        else:
            raise Unsupported(f"{kind} is not covered at this place")
    reads = [_reads(module) for module in adapters]
    _check(len(adapters) + len(fusions) == 1 or set(reads) == {"sum"}, "these bottlenecks cannot be stacked")
    bottlenecks = tuple(_adapter(module) for module in adapters)
    return plain._replace(fusions=tuple(fusions), adapters=bottlenecks, reads=reads[0] if reads else "sum")


def _reads(module: Any) -> str:
    _check(module.original_ln_after, "a bottleneck replaces the LayerNorm")
    if type(module).__name__ == "ParallelAdapter":
        return "input"
    _check(module.residual_before_ln is True, "a bottleneck has another residual")
    return "sum" if module.original_ln_before else "sublayer"


def _adapter(module: Any) -> Adapter:
    _check(type(module).__name__ in ("Adapter", "ParallelAdapter"), "a bottleneck is of another kind")
    layers = list(module.adapter_down)
    plain = len(layers) == 2 and type(layers[0]) is nn.Linear and type(module.adapter_up) is nn.Linear
    _check(plain and not module.add_layer_norm_after, "a bottleneck has layers of its own")
    _check(not module.use_gating, "a bottleneck is gated")
    _check(isinstance(module.scaling, float), "a bottleneck learns its scaling")
    _check(not hasattr(module, "DropPath"), "stochastic depth is on")
    down, up = layers[0], module.adapter_up
    act = _act(layers[1].f)
    return Adapter(down.weight, down.bias, up.weight, up.bias, act, module.scaling, _rate(module.dropout))


def _fusion(part: Any, fuse: Any) -> Fusion:
    _check(all(isinstance(child, str) and child in part.adapters for child in fuse), "a fusion is nested")
    modules = [part.adapters[child] for child in fuse]
    _check(_reads(modules[-1]) == "sum", "a fusion is not over sequential bottlenecks")
    children = tuple(_adapter(module)._replace(dropout=0.0) for module in modules)
    _check(len({(child.act, child.down.shape) for child in children}) == 1, "the fused bottlenecks differ in shape")
    _check(fuse.name in part.adapter_fusion_layer, f"there is no fusion over {fuse.name}")
    layer = part.adapter_fusion_layer[fuse.name]
    wanted = {"query": True, "key": True, "value": True, "value_before_softmax": True}
    wanted |= {"query_before_ln": False, "residual_before": False, "temperature": False}
    _check(all(bool(layer.config[key]) is value for key, value in wanted.items()), "the fusion has other options")
    query, key = layer.query, layer.key
    return Fusion(query.weight, query.bias, key.weight, key.bias, layer.value.weight, children, _rate(layer.dropout))
