"""LoRA adapters compute what PEFT computes, keep their prefixes apart, and are refused in one line."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import events as ev
from engine.engine import Engine
from engine.kv.radix import chain_hashes
from engine.kv.seeds import seed_of
from engine.load import decoder_of, load
from engine.model.errors import ModelError
from engine.model.json_fields import Fields
from engine.model.layer import Layer
from engine.model.linear import Linear
from engine.model.lora.adapter import FUSED, Adapter, Adapters, load_adapter
from engine.model.lora.config import CONFIG, WEIGHTS, parse_adapter_config
from engine.model.lora.loading import merged, with_adapters
from engine.model.projection import Place
from engine.option_error import OptionError
from engine.params import EngineOptions, ForkSpec, RequestSpec, SamplingParams
from engine.plugs import Plugs
from engine.protocol import Inspect, LookLayers
from engine.reasons import AdapterDiffers, LastTokenNeeded, NeverComputed, SaltDiffers
from engine.text.tokenizer import Tokenizer
from tests.adapters import ATTENTION_AND_MLP, peft_logits, save_adapter
from tests.bundled import FOLDER, decoder
from tests.commands import Ran, run
from tests.quantized import logits, quantized
from tests.tiny_models import Paged, save_model, token_ids

PROMPT = tuple(range(100, 140))
NEAR = 1e-4


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `every` (all projections, rank 4), `rooted` (q and v, rsLoRA) and `mixed` (ranks of its own)."""
    folder = tmp_path_factory.mktemp("adapters")
    save_adapter(folder / "every", target_modules=list(ATTENTION_AND_MLP))
    save_adapter(folder / "rooted", seed=1, r=3, use_rslora=True)
    mixed = {"rank_pattern": {"k_proj": 2, "model.layers.1.mlp.up_proj": 5}, "alpha_pattern": {"up_proj": 3}}
    save_adapter(
        folder / "mixed", seed=2, target_modules=["k_proj", "up_proj"], layers_to_transform=[1, 4], **mixed
    )
    return folder


def engine_with(adapters: Path, *names: str, **options: Any) -> Engine:
    asked = tuple(f"{name.removesuffix(',merged')}={adapters}/{name}" for name in names)
    chosen = {"dtype": "float32", "kv_blocks": 96, "block_size": 4} | options
    return load(FOLDER, EngineOptions(adapters=asked, **chosen))


def asking(
    adapter: str = "", prompt: tuple[int, ...] = PROMPT, max_tokens: int = 3, **params: Any
) -> RequestSpec:
    return RequestSpec(prompt, SamplingParams(max_tokens=max_tokens, ignore_eos=True, adapter=adapter, **params))


def logits_of(engine: Engine, request: str, position: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(engine.inspect(Inspect(request=request, position=position)).logits, np.float32)


def stepped(engine: Engine) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """The logits of one step's choices, as the run computed them."""
    step = engine.step()
    assert step is not None
    assert step.details.logits is not None
    return list(step.details.logits)


@pytest.mark.parametrize("name", ["every", "rooted", "mixed"])
def test_logits_are_those_of_peft(adapters: Path, name: str) -> None:
    engine = engine_with(adapters, name)
    engine.submit(asking(name))

    (chosen,) = stepped(engine)

    expected = peft_logits(adapters / name, PROMPT).numpy()
    assert np.abs(chosen - expected[-1]).max() < NEAR
    assert np.abs(expected[-1] - without(PROMPT)).max() > 1, "the adapter does something"


@pytest.mark.parametrize("name", ["every", "mixed"])
def test_merged_weights_give_what_peft_gives_merged(adapters: Path, name: str) -> None:
    engine = engine_with(adapters, f"{name},merged")
    engine.submit(asking())

    (chosen,) = stepped(engine)

    assert np.abs(chosen - peft_logits(adapters / name, PROMPT, merge=True).numpy()[-1]).max() < NEAR


def test_one_batch_runs_two_adapters_and_none(adapters: Path) -> None:
    """Prefills of different lengths, then decodes side by side."""
    engine = engine_with(adapters, "every", "rooted")
    names = ["", "every", "rooted", "every", ""]
    for index, name in enumerate(names):
        engine.submit(asking(name, PROMPT[: 30 - 3 * index], max_tokens=4))

    for _ in range(4):
        lengths = {id_: request.num_tokens for id_, request in engine.state.requests.items()}
        found = stepped(engine)
        for (id_, length), name, chosen in zip(lengths.items(), names, found, strict=True):
            ids = engine.tokens.tokens_of(id_)[:length]
            expected = peft_logits(adapters / name, ids).numpy()[-1] if name else without(ids)
            assert np.abs(chosen - expected).max() < NEAR


def without(ids: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    paged = Paged(decoder(), block_size=4)
    logits: np.ndarray[Any, np.dtype[np.float32]] = paged.prefill(paged.request("a", list(ids)), [len(ids)])[
        -1
    ].numpy()
    return logits


def test_a_run_with_adapters_computes_other_requests_as_if_there_were_none(adapters: Path) -> None:
    with_, plain = engine_with(adapters, "every"), engine_with(adapters)
    for engine in (with_, plain):
        engine.submit(asking())
    assert stepped(with_)[0].tobytes() == stepped(plain)[0].tobytes()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_families_with_biases_and_norms_of_their_own(family: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", family)
    save_adapter(tmp_path / "a", tmp_path / "model", target_modules=list(ATTENTION_AND_MLP))
    options = EngineOptions(dtype="float32", kv_blocks=32, adapters=(f"a={tmp_path / 'a'}",))
    engine = load(tmp_path / "model", options)
    ids = tuple(token_ids(20))
    engine.submit(asking("a", ids))

    (chosen,) = stepped(engine)

    expected = peft_logits(tmp_path / "a", ids, tmp_path / "model").numpy()[-1]
    assert np.abs(chosen - expected).max() < NEAR * max(1.0, float(np.abs(expected).max()))


def test_under_invariance_a_row_has_the_same_bits_in_every_batch(adapters: Path) -> None:
    alone, crowd = (engine_with(adapters, "every", invariant=True) for _ in range(2))
    alone.submit(asking("every"))
    for name in ("", "every", "every"):
        crowd.submit(asking(name, PROMPT[:17]))
    crowd.submit(asking("every"))
    assert stepped(alone)[0].tobytes() == stepped(crowd)[-1].tobytes()


def test_an_adapter_works_beside_weights_in_few_bits(adapters: Path) -> None:
    """The low-rank part is added to what int8 weights give, as if it were added to the weights they stand for."""
    base, adapter = quantized("int8"), load_adapter(adapters / "every", decoder().config)

    beside = logits(with_adapters(base, Adapters({"every": adapter})), [PROMPT], "every")

    summed = dataclasses.replace(base, layers=tuple(_summed(layer, adapter) for layer in base.layers))
    torch.testing.assert_close(beside, logits(summed, [PROMPT]), atol=NEAR, rtol=NEAR)


def _summed(layer: Layer, adapter: Adapter) -> Layer:
    """The layer on weights that are the sum of what `layer` stands for and what the adapter adds."""
    made = {
        name: Linear(merged(Place(layer.index, name), getattr(layer, name).dense().float(), [adapter]))
        for name in FUSED
    }
    return dataclasses.replace(layer, **made)


# -- in the cache --------------------------------------------------------------------------------------


def ends_of(engine: Engine, *specs: RequestSpec) -> list[ev.PrefixMatched]:
    """Run requests one after the other; how each one's match ended."""
    said: list[ev.PrefixMatched] = []
    for spec in specs:
        engine.submit(spec)
        while engine.busy:
            plan = engine.begin().plan.events
            said += [event for event in plan if isinstance(event, ev.PrefixMatched)]
            assert engine.begun is not None
            engine.complete(engine.begun)
    return said


def test_cached_prefixes_of_adapters_and_salts_are_apart(adapters: Path) -> None:
    engine = engine_with(adapters, "every", "rooted")
    specs = [
        asking(), asking("every"), asking("every"), asking("rooted"), asking("every", salt="x"),
        asking("every", salt="x"), asking(prompt=tuple(range(900, 940))),
    ]  # fmt: skip

    matches = ends_of(engine, *specs)

    assert [match.tokens for match in matches] == [0, 0, 36, 0, 0, 36, 0]
    last = LastTokenNeeded(36)
    assert [match.end for match in matches] == [
        NeverComputed(0), AdapterDiffers(0, 36, ""), last, AdapterDiffers(0, 36, ""), SaltDiffers(0, 36), last,
        NeverComputed(0),
    ]  # fmt: skip
    engine.state.tree.check_invariants()


def test_a_longer_prefix_of_another_adapter_is_named(adapters: Path) -> None:
    engine = engine_with(adapters, "every")
    short, whole = asking("every", PROMPT[:10]), asking()
    matches = ends_of(engine, short, whole, asking("every"))
    assert matches[2].tokens == 8
    assert matches[2].end == AdapterDiffers(8, 28, "")


def test_hashes_without_adapter_and_salt_are_as_they_always_were() -> None:
    assert seed_of(SamplingParams()) == 0
    seeds = {seed_of(SamplingParams(adapter=a, salt=s)) for a, s in (("", ""), ("a", ""), ("", "a"), ("b", ""))}
    assert len(seeds) == 4
    assert chain_hashes(PROMPT, 4) != chain_hashes(PROMPT, 4, seed_of(SamplingParams(adapter="a")))


def test_a_fork_under_another_adapter_computes_all_of_its_keys_again(adapters: Path) -> None:
    engine = engine_with(adapters, "every")
    engine.submit(asking(max_tokens=6))
    for _ in range(4):
        engine.step()
    at = len(PROMPT) + 2
    fork = engine.fork(ForkSpec("1", at, params=SamplingParams(max_tokens=6, ignore_eos=True, adapter="every")))

    engine.step()

    ids = engine.tokens.tokens_of(fork)[:at]
    assert np.abs(logits_of(engine, fork, at - 1) - peft_logits(adapters / "every", ids).numpy()[-1]).max() < NEAR
    assert engine.state.requests[fork].cached_tokens == 0


# -- looking -------------------------------------------------------------------------------------------


def test_a_row_computed_again_runs_with_its_adapter(adapters: Path) -> None:
    engine = engine_with(adapters, "every")
    engine.submit(asking("every"))
    engine.submit(asking(prompt=tuple(range(500, 560))))
    first = stepped(engine)[0]
    engine.run()

    for _ in range(2):  # from its cached KV, then from nothing
        again = logits_of(engine, "1", len(PROMPT) - 1)
        assert np.abs(again - first).max() < 1e-4
        while engine.state.tree.root.children:
            node = next(n for n in engine.state.tree.nodes.values() if n.id and not n.children)
            engine.evict(node.blocks[0])


def test_the_shares_of_a_logit_add_up_under_an_adapter(adapters: Path) -> None:
    """Heads write through the adapted projection: their shares make up what their layer's attention wrote."""
    engine = engine_with(adapters, "every")
    engine.submit(asking("every"))
    engine.run()

    seen = engine.look(LookLayers(request="1", position=len(PROMPT) - 1))

    heads = np.frombuffer(seen.heads, np.float32).reshape(seen.layers, seen.n_heads)
    attn = np.frombuffer(seen.attn, np.float32)
    np.testing.assert_allclose(heads.sum(1), attn, atol=1e-3)
    assert abs(seen.remainder) < 1e-3


# -- what cannot be run --------------------------------------------------------------------------------


def config_with(**changes: object) -> Fields:
    plain: dict[str, object] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    return Fields(plain | changes, "adapter_config.json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3': only LORA"),
        ({"use_dora": True}, "use_dora is True: DoRA rescales"),
        ({"modules_to_save": ["lm_head"]}, "whole modules of its own"),
        ({"bias": "all"}, "bias is 'all': only adapters that leave biases alone"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"init_lora_weights": "pissa"}, "it changes the base weights"),
        ({"alora_invocation_tokens": [1]}, "switched on by tokens"),
        ({"a_new_thing": 1}, "a_new_thing is 1: what it changes is not known here"),
        ({"r": 0}, "r is 0"),
        ({"lora_alpha": -1}, "lora_alpha is -1"),
        ({"rank_pattern": {".*q_proj": 2}}, "write out the modules' names"),
        ({"rank_pattern": {"(a+)+$": 2}}, "write out the modules' names"),
    ],
)
def test_what_a_config_asks_for_and_cannot_be_run_is_said(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=r"adapter_config\.json") as refused:
        parse_adapter_config(config_with(**changes))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scales_follow_alpha_and_rank() -> None:
    config = parse_adapter_config(
        config_with(rank_pattern={"k_proj": 2, "^model.layers.0.mlp.up_proj": 16}, alpha_pattern={"k_proj": 5})
    )
    assert config.scale_of("model.layers.3.self_attn.q_proj") == 2.0
    assert config.scale_of("model.layers.3.self_attn.k_proj") == 2.5
    assert config.scale_of("model.layers.0.mlp.up_proj") == 0.5
    assert config.scale_of("model.layers.10.mlp.up_proj") == 2.0
    rooted = parse_adapter_config(config_with(use_rslora=True))
    assert rooted.scale_of("model.layers.3.self_attn.q_proj") == 4.0


Spoil = Callable[[dict[str, torch.Tensor], dict[str, Any]], None]


def _drop(tensors: dict[str, torch.Tensor], _config: dict[str, Any]) -> None:
    del tensors[next(name for name in tensors if "lora_B" in name)]


def _widen(tensors: dict[str, torch.Tensor], _config: dict[str, Any]) -> None:
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = torch.zeros(3, 200)


def _other_layer(tensors: dict[str, torch.Tensor], _config: dict[str, Any]) -> None:
    for name in [name for name in tensors if ".layers.0." in name]:
        tensors[name.replace(".layers.0.", ".layers.77.")] = tensors.pop(name)


def _embedding(tensors: dict[str, torch.Tensor], _config: dict[str, Any]) -> None:
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(4, 192)


def _whole_numbers(tensors: dict[str, torch.Tensor], _config: dict[str, Any]) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name].to(torch.int8)


def _foreign_target(_tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    config["target_modules"] = ["c_attn"]


def _other_rank(_tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    config["r"] = 7


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop, "is missing, and its partner is there"),
        (_widen, "is [3, 200], this model and adapter_config.json need [3, 192]: it was made for another model"),
        (_other_layer, "'model.layers.77.self_attn.q_proj', which this llama model of 6 layers does not have"),
        (_embedding, "is no low-rank factor of a layer's projection"),
        (_whole_numbers, "is I8: only F32, F16, BF16 can run"),
        (_foreign_target, "it adapts 'c_attn', and what can be adapted"),
        (_other_rank, "need [7, 192]"),
    ],
)
def test_an_adapter_that_does_not_fit_the_model_is_one_line(
    adapters: Path, tmp_path: Path, spoil: Spoil, said: str
) -> None:
    source = adapters / "rooted"
    tensors, config = load_file(source / WEIGHTS), json.loads((source / CONFIG).read_text())
    spoil(tensors, config)
    save_file(tensors, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps(config))

    with pytest.raises(ModelError) as refused:
        load_adapter(tmp_path, decoder().config)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_request_that_names_no_adapter_of_the_run_ends_in_error(adapters: Path) -> None:
    engine = engine_with(adapters, "every", "rooted,merged")
    engine.submit(asking("nobody"))
    assert not engine.busy
    with pytest.raises(ValueError, match="none of that name: it has every"):
        engine.check(asking("nobody"))
    with pytest.raises(ValueError, match="merged into the weights, so requests name none"):
        engine.check(asking("rooted"))


def test_merging_beside_another_form_of_the_weights_is_refused(adapters: Path) -> None:
    class Transform:
        def prepare_weights(self, folder: Path, dtype: str) -> object:
            raise AssertionError("not asked")

    plugs = Plugs(transform=("few-bits", Transform()))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="merged into the weights, and plugin few-bits makes others"):
        decoder_of(FOLDER, "float32", plugs, (f"a={adapters / 'every'},merged",))


# -- commands ------------------------------------------------------------------------------------------


def record(tmp_path: Path, adapters: Path, *arguments: str) -> Ran:
    lines = [{"prompt_ids": PROMPT, "max_tokens": 3, "adapter": name} for name in ("every", "rooted", "")]
    workload = tmp_path / "w.jsonl"
    workload.write_text("\n".join(map(json.dumps, lines)))
    named = [part for name in ("every", "rooted") for part in ("--adapter", f"{name}={adapters / name}")]
    return run("record", "--workload", str(workload), "-o", str(tmp_path / "s.wbs"), "--json", *named, *arguments)


def test_a_recording_is_replayed_with_the_adapters_it_ran_with_only(adapters: Path, tmp_path: Path) -> None:
    assert record(tmp_path, adapters).code == 0
    session = str(tmp_path / "s.wbs")

    same = run("replay", session, "--json")
    other = run("replay", session, "--adapter", f"every={adapters / 'mixed'}")

    assert json.loads(same.out)["identical"] is True
    assert other.code == 2
    assert "holds another adapter now than every of this recording" in other.err
    assert other.err.count("\n") == 1


def test_a_session_shown_names_its_adapters(adapters: Path, tmp_path: Path) -> None:
    assert record(tmp_path, adapters).code == 0
    session = str(tmp_path / "s.wbs")

    shown = json.loads(run("sessions", "show", session, "--json").out)

    assert [used["name"] for used in shown["adapters"]] == ["every", "rooted"]
    assert f"every in {adapters / 'every'}, rooted in" in run("sessions", "show", session).out


def test_show_tells_the_norms_of_what_is_added_and_what_it_does_to_a_token(adapters: Path) -> None:
    """Held against PEFT's own delta weights and logits."""
    text = "def read(path):\n    return"
    shown = json.loads(run("adapters", "show", adapters / "mixed", "--prompt", text, "--json").out)

    tensors = load_file(adapters / "mixed" / WEIGHTS)
    config = parse_adapter_config(
        Fields(json.loads((adapters / "mixed" / CONFIG).read_text()), "adapter_config.json")
    )
    plain = load_file(FOLDER / "model.safetensors")
    assert len(shown["projections"]) == 4
    for each in shown["projections"]:
        module = f"model.layers.{each['layer']}.{each['projection']}"
        a, b = (tensors[f"base_model.model.{module}.lora_{which}.weight"] for which in "AB")
        assert math.isclose(each["change"], float((b @ a).norm()) * config.scale_of(module), rel_tol=1e-4)
        assert math.isclose(each["weight"], float(plain[f"{module}.weight"].float().norm()), rel_tol=1e-4)

    ids = Tokenizer.from_folder(FOLDER).encode(text)
    expected = peft_logits(adapters / "mixed", ids)[-1]
    for each in shown["next_token"]["tokens"]:
        assert abs(each["logit_with"] - float(expected[each["token"]])) < NEAR
        assert abs(each["logit"] - float(without(ids)[each["token"]])) < NEAR
        assert abs(each["probability_with"] - float(expected.softmax(-1)[each["token"]])) < NEAR


def test_show_refuses_what_is_no_adapter_for_the_model(adapters: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model", "llama")
    for folder in (tmp_path, adapters / "every"):
        done = run("adapters", "show", folder, tmp_path / "model")
        assert done.code == 2
        assert done.err.count("\n") == 1
