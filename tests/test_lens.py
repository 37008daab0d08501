"""The lens says what transformers' hidden states say, and the parts of a logit add up to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import protocol as pr
from engine.forking import ForkSpec
from engine.interventions import Scale
from engine.kv.pool import KVPool
from engine.lens import LayerLooker
from engine.model.decoder import Decoder
from engine.model.stage_names import points
from engine.model.weights import load_decoder
from engine.params import SamplingParams
from engine.row_again import InspectionError, RowAgain
from engine.state import State
from engine.tokens import Asked, TokenLog
from tests.bundled import bundled_engine, decoder, executor_of, greedy, run_all
from tests.tiny_models import VOCAB, save_model, token_ids

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama tied, biases": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "mistral windows": ("mistral", {"sliding_window": 8}),
    "qwen2": ("qwen2", {}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3 qk-norm": ("qwen3", {"head_dim": 16}),
    "qwen3 qk-norm tied, biases": ("qwen3", {"head_dim": 8, "tie_word_embeddings": True, "attention_bias": True}),
}
IDS = token_ids(24)


@dataclass
class Model:
    """A small model of ours, and transformers' own of the same weights."""

    decoder: Decoder
    reference: Any

    @torch.inference_mode()
    def hidden(self) -> list[Tensor]:
        """The stream of the last position after the embedding and after each layer, then normed and read."""
        found: dict[int, Tensor] = {}
        hooks = [
            layer.register_forward_hook(lambda _m, _i, out, at=at: found.update({at: _first(out)[0, -1]}))
            for at, layer in enumerate(self.reference.model.layers)
        ]
        states = self.reference(torch.tensor([IDS]), use_cache=False, output_hidden_states=True).hidden_states
        for hook in hooks:
            hook.remove()
        assert torch.equal(states[1][0, -1], found[0])  # the last of the states is normed, so it is hooked
        return [states[0][0, -1], *(found[at] for at in sorted(found))]


def _first(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: name.replace(" ", "-"))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    family, settings = KINDS[request.param]
    folder = tmp_path_factory.mktemp("lens")
    reference = save_model(folder, family, **settings)
    return Model(load_decoder(folder, torch.float32), reference)


def looker(decoder: Decoder, ids: list[int] = IDS, prompt: int = 20) -> LayerLooker:
    log = TokenLog()
    log.add("1", ids, Asked(prompt, SamplingParams()))
    return LayerLooker(RowAgain(decoder, KVPool(decoder.config, 8, 4, decoder.dtype), State(8, 4), log))


def look(decoder: Decoder, token: int | None = None, position: int = len(IDS) - 1, top: int = 5) -> pr.LayersSeen:
    return looker(decoder).look(pr.LookLayers(request="1", position=position, token=token, top=top))


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<f4")


def ints(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i4")


# -- the lens ------------------------------------------------------------------------------------------


def test_the_lens_is_what_transformers_hidden_states_say(model: Model) -> None:
    token = 42
    seen = look(model.decoder, token)
    with torch.inference_mode():
        states = torch.stack(model.hidden())
        logits = model.reference.lm_head(model.reference.model.norm(states)).double()
    log_probs = logits.log_softmax(-1)
    np.testing.assert_allclose(floats(seen.lens_logit), logits[:, token], atol=1e-3)
    np.testing.assert_allclose(floats(seen.prob), log_probs[:, token].exp(), atol=1e-4)
    np.testing.assert_allclose(floats(seen.resid_norm), states.double().norm(dim=-1), rtol=1e-5)
    divergence = torch.nn.functional.kl_div(
        log_probs, log_probs[-1].expand_as(log_probs), log_target=True, reduction="none"
    )
    np.testing.assert_allclose(floats(seen.kl), divergence.sum(-1), atol=1e-3)
    order = logits.argsort(dim=-1, descending=True)
    assert ints(seen.lens_ids).reshape(-1, 5).tolist() == order[:, :5].tolist()
    assert ints(seen.rank).tolist() == [row.tolist().index(token) + 1 for row in order]
    probs = log_probs.gather(-1, order[:, :5]).exp()
    np.testing.assert_allclose(floats(seen.lens_probs).reshape(-1, 5), probs, atol=1e-4)


def test_the_last_depth_is_what_the_model_said(model: Model) -> None:
    seen = look(model.decoder)
    logits = floats(seen.logits)
    assert floats(seen.lens_logit)[-1] == logits[seen.token] == np.float32(seen.logit)
    assert floats(seen.kl)[-1] == 0
    assert ints(seen.lens_ids).reshape(-1, 5)[-1, 0] == logits.argmax()


# -- the parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [0, 17, VOCAB - 1])
def test_the_parts_of_a_logit_add_up_to_it(model: Model, token: int) -> None:
    seen = look(model.decoder, token)
    total = seen.embed + floats(seen.attn).sum(dtype=float) + floats(seen.mlp).sum(dtype=float)
    assert abs(total - seen.logit) < 1e-4
    assert abs(seen.remainder) < 1e-4
    assert abs(seen.logit) > 1e-2, "nothing would be shown by adding up to nothing"


def test_the_heads_and_the_bias_add_up_to_their_layers_attention(model: Model) -> None:
    seen = look(model.decoder, 17)
    heads = floats(seen.heads).reshape(seen.layers, seen.n_heads).sum(-1, dtype=float)
    rest = floats(seen.attn) - heads
    if model.decoder.config.o_bias:
        assert np.abs(rest).max() > 1e-3
        norm = model.reference.model.norm
        last = model.hidden()[-1].double()
        scale = (last.square().mean() + norm.variance_epsilon).rsqrt()
        with torch.inference_mode():
            direction = norm.weight.double() * model.reference.lm_head.weight[17].double() * scale
            biases = [layer.self_attn.o_proj.bias.double() @ direction for layer in model.reference.model.layers]
        np.testing.assert_allclose(rest, biases, atol=1e-4)
    else:
        np.testing.assert_allclose(rest, 0, atol=1e-4)


def test_a_part_is_what_the_logit_loses_without_it(model: Model) -> None:
    """Taking a layer's MLP out of the stream, the norm's scale held, takes its share from the logit."""
    seen, token = look(model.decoder, 17), 17
    layer = model.reference.model.layers[-1]
    kept: list[Tensor] = []
    hook = layer.mlp.register_forward_hook(lambda _m, _i, out: kept.append(out[0, -1]))
    last = model.hidden()[-1].double()
    hook.remove()
    norm, head = model.reference.model.norm, model.reference.lm_head
    scale = (last.square().mean() + norm.variance_epsilon).rsqrt()
    with torch.inference_mode():
        without = (last - kept[0].double()) * scale * norm.weight.double() @ head.weight[token].double()
    assert seen.logit - float(without) == pytest.approx(floats(seen.mlp)[-1], abs=1e-4)


def test_weights_kept_in_blocks_are_read_all_the_same(tmp_path: Path) -> None:
    save_model(tmp_path, "llama", torch.bfloat16)
    packed = load_decoder(tmp_path)
    assert packed.lm_head.kernel == "packed"
    seen = look(packed, 17)
    total = seen.embed + floats(seen.attn).sum(dtype=float) + floats(seen.mlp).sum(dtype=float)
    assert total + seen.remainder == pytest.approx(seen.logit, abs=1e-5)
    assert abs(seen.remainder) < 0.05 * max(1.0, abs(seen.logit)), "bfloat16 rounds; it is shown as the remainder"


# -- the row -------------------------------------------------------------------------------------------


def test_every_stage_of_the_row_is_there_with_its_lines() -> None:
    seen = look(decoder())
    assert [(each.layer, each.stage) for each in seen.stages] == list(points(seen.layers))
    assert len(seen.values) == len(seen.source_of) == len(seen.stages)
    for stage, values, sources in zip(seen.stages, seen.values, seen.source_of, strict=True):
        shown = floats(values.data)
        stats = stage.stats[0]
        assert stats is not None
        assert np.abs(shown).max() == pytest.approx(abs(stats.largest))
        source = seen.sources[sources[-1]]
        assert f'"{stage.stage}"' in source.text[source.last - source.start]


@pytest.mark.parametrize("ended", [False, True])
def test_a_row_of_the_run_is_looked_at_with_the_logits_that_were_recorded(ended: bool) -> None:
    engine = bundled_engine(24, block_size=4)
    result = run_all(engine, [greedy(range(40, 60), 8)])
    if not ended:
        engine.submit(greedy(range(40, 60), 8))
        for _ in range(4):
            engine.step()
    request, position = ("1", 24) if ended else ("2", 21)
    seen = engine.look(pr.LookLayers(request=request, position=position))
    details = result.details["1", position + 1]
    candidates = details.candidates
    np.testing.assert_allclose(floats(seen.logits)[list(candidates.ids)], candidates.raw, atol=1e-4)
    assert seen.follows
    assert seen.token == engine.tokens.tokens_of(request)[position + 1]


def test_the_newest_row_has_chosen_nothing_yet() -> None:
    seen = look(decoder())
    assert not seen.follows
    assert seen.token == floats(seen.logits).argmax()
    assert look(decoder(), position=3).follows
    assert look(decoder(), position=3).token == IDS[4]
    assert not look(decoder(), position=3, token=IDS[4] + 1).follows


def test_looking_changes_nothing() -> None:
    plain = run_all(bundled_engine(24, block_size=4), [greedy(range(40, 60), 8)])
    engine = bundled_engine(24, block_size=4)
    engine.submit(greedy(range(40, 60), 8))
    while engine.step() is not None:
        before = [layer.clone() for layer in executor_of(engine).pool.layers]
        engine.look(pr.LookLayers(request="1", position=engine.state.step % 20))
        assert all(map(torch.equal, executor_of(engine).pool.layers, before))
    assert list(engine.tokens.tokens_of("1"))[20:] == plain.outputs["1"]


Looked = Callable[[Any], np.ndarray]


@pytest.mark.parametrize("looked", [
    lambda engine: floats(engine.look(pr.LookLayers(request="2", position=24)).logits),
    lambda engine: floats(engine.inspect(pr.Inspect(request="2", position=24)).logits),
])  # fmt: skip
@pytest.mark.parametrize("evicted", [False, True])
def test_a_fork_with_a_head_switched_off_is_looked_at_as_it_ran(looked: Looked, evicted: bool) -> None:
    engine = bundled_engine(24, block_size=4)
    engine.submit(greedy(range(40, 60), 8))
    engine.run()
    scales = (Scale(2, "attn_out", 0.0, 1), Scale(4, "mlp_out", 0.0))
    engine.fork(ForkSpec("1", 22, scales=scales))
    recorded = {}
    while (step := engine.step()) is not None:
        recorded |= {(each.request, each.position): each for each in step.details()}
    if evicted:
        engine.submit(greedy(range(200, 270), 20))
        engine.run()
    candidates = recorded["2", 25].candidates
    logits = looked(engine)
    np.testing.assert_allclose(logits[list(candidates.ids)], candidates.raw, atol=1e-4)
    bare = floats(engine.look(pr.LookLayers(request="1", position=24)).logits)
    assert np.abs(bare - logits).max() > 0.1, "the head and the MLP made no difference"


def test_what_others_computed_is_not_taken_for_the_scaled_requests_own() -> None:
    """The fork chooses what its parent chose, so the tree has blocks of those tokens: they are not its own."""
    engine = bundled_engine(24, block_size=4)
    engine.submit(greedy(range(40, 60), 12))
    engine.run()
    engine.fork(ForkSpec("1", 21, scales=(Scale(0, "attn_out", 0.8, 1),)))
    recorded = {}
    while (step := engine.step()) is not None:
        recorded |= {each.position: each for each in step.details() if each.request == "2"}
    assert list(engine.tokens.tokens_of("2"))[:30] == list(engine.tokens.tokens_of("1"))[:30]
    candidates = recorded[30].candidates
    logits = floats(engine.look(pr.LookLayers(request="2", position=29)).logits)
    np.testing.assert_allclose(logits[list(candidates.ids)], candidates.raw, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"request": "9", "position": 0}, "there is no request 9"),
        ({"request": "1", "position": 24}, "request 1 has no position 24: it has 24 tokens"),
        ({"request": "1", "position": 1, "top": 0}, "top is 0: it must be between 1 and 50"),
        ({"request": "1", "position": 1, "token": 4096}, "token is 4096: the vocabulary has 4096"),
    ],
)
def test_what_is_not_there_is_one_line(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InspectionError, match=says):
        looker(decoder()).look(pr.LookLayers(**fields))
