"""What a model learns against logits of the two models' own forward, and in which order."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GptOssConfig,
    GraniteConfig,
    MambaConfig,
)

from mwanda.errors import InputError
from mwanda.model.run.decoder import MemoryDecoder
from mwanda.model.run.head_form import PlainHead
from mwanda.pruned.recover import targets, task
from mwanda.pruned.recover.learner import Course, Learner, heads_kept, learning, together
from mwanda.pruned.recover.lessons import Lessons
from mwanda.pruned.recover.outcome import warn_of_many_passes
from mwanda.pruned.recover.rates import input_rates
from mwanda.pruned.recover.targets import Targets, find_head, take_targets
from mwanda.pruned.recover.watch import Watch
from mwanda.pruning.recipe.recovery import AfterPrune, Settings
from mwanda.pruning.recipe.values import validated
from mwanda.system.device import HOST
from mwanda.system.ranks import ALONE, Ranks
from mwanda.system.run_options import RunOptions
from tests.pruning.pipeline.helpers import token_windows, windows_object
from tests.support.models import HEAD_DIM, HEADS, HIDDEN, INTERMEDIATE, redraw, tiny_config
from tests.support.pretend.device import KIND, Pretend

SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
    "pad_token_id": 0,
}  # fmt: skip
CONFIGS = {
    **{
        family: tiny_config(family)
        for family in ("llama", "gemma3", "cohere", "gpt2", "bloom", "opt-post")
    },
    "soft cap": Gemma2Config(**SIZES, head_dim=HEAD_DIM, final_logit_softcapping=2.0),
    "scale": GraniteConfig(**SIZES, logits_scaling=3.7),
}
TOKENS = {tag: ids[:3] for tag, ids in token_windows().items()}
ORDER = [("de", 1), ("sw", 0), ("de", 0)]


def model(name: str, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = AutoModelForCausalLM.from_config(CONFIGS[name])
        redraw(made, seed)
    return made.float().eval()


def learner(
    pruned: Any, dense: Any, folder: Path, **settings: Any
) -> tuple[Learner, dict[str, torch.Tensor]]:
    """A learner, and one batch for it in which windows have different lengths."""
    asked = Settings(**settings)
    folder.mkdir(exist_ok=True)
    one, other = MemoryDecoder(pruned), MemoryDecoder(dense)
    teacher = find_head(other, TOKENS)
    likely = 0 < asked.sampled < 300
    take_targets(other, TOKENS, teacher, folder, ALONE, RunOptions(batch_tokens=48), likely=likely)
    made = Learner(one, find_head(one, TOKENS), teacher, torch.float32, asked)
    course = Course(ORDER, TOKENS, Targets(folder), seed=0, likely=likely)
    return made, together([course[place] for place in range(len(ORDER))])


def oracle(pruned: Any, dense: Any) -> list[torch.Tensor]:
    """Every window's mean divergence, by the models' own logits."""
    found = []
    for tag, place in ORDER:
        ids = TOKENS[tag][place][None]
        one = pruned(ids).logits[0].double().log_softmax(-1)
        with torch.no_grad():
            other = dense(ids).logits[0].double().log_softmax(-1)
        found.append((other.exp() * (other - one)).sum(-1).mean())
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_is_that_of_the_models_own_logits(name: str, tmp_path: Path) -> None:
    pruned, dense = model(name, 1), model(name, 2)
    expected = oracle(pruned, dense)
    made, batch = learner(pruned, dense, tmp_path, train_embeddings=True)
    found = made(**batch)
    torch.testing.assert_close(found["windows"].double(), torch.stack(expected), rtol=1e-4, atol=0)
    mean = torch.stack(expected).mean()
    torch.testing.assert_close(found["loss"].double(), mean, rtol=1e-4, atol=0)
    learnt = learning(MemoryDecoder(pruned), Settings(train_embeddings=True))
    gradients = torch.autograd.grad(mean, learnt, allow_unused=True)
    found["loss"].backward()
    for parameter, gradient in zip(learnt, gradients, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=2e-3, atol=1e-6)


def test_embeddings_and_head_stay_unless_asked_for(tmp_path: Path) -> None:
    pruned = model("llama", 1)
    made, batch = learner(pruned, model("llama", 2), tmp_path)
    made(**batch)["loss"].backward()
    still = {name for name, parameter in pruned.named_parameters() if parameter.grad is None}
    assert still == {"model.embed_tokens.weight", "lm_head.weight"}
    assert not [module for module in made.train().modules() if module.training]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_blocks_that_run_twice_give_the_same_gradient(name: str, tmp_path: Path) -> None:
    found = []
    for checkpointing in (False, True):
        pruned = model(name, 1)
        made, batch = learner(
            pruned, model(name, 2), tmp_path, gradient_checkpointing=checkpointing
        )
        runs: list[int] = []
        pruned.model.layers[0].input_layernorm.register_forward_hook(
            lambda *_, runs=runs: runs.append(1)
        )
        made.train()(**batch)["loss"].backward()
        assert len(runs) == 1 + checkpointing
        found.append([p.grad for p in pruned.parameters() if p.grad is not None])
    assert all(map(torch.equal, *found))


def test_blocks_that_run_twice_drop_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(CONFIGS["opt-post"])
    config.dropout = 0.5  # which its blocks apply themselves
    monkeypatch.setitem(CONFIGS, "drops", config)
    found = []
    for checkpointing in (False, True):
        pruned = model("drops", 1)
        made, batch = learner(
            pruned, model("drops", 2), tmp_path, gradient_checkpointing=checkpointing
        )
        made.train()(**batch)["loss"].backward()
        found.append([p.grad for p in pruned.parameters() if p.grad is not None])
        assert [block.training for block in pruned.model.decoder.layers] == 3 * [checkpointing]
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learns", [False, True])
def test_heads_that_are_kept_beside_the_weights(dtype: torch.dtype, learns: bool) -> None:
    pruned, dense = model("llama", 1), model("llama", 1)
    one, other = MemoryDecoder(pruned), MemoryDecoder(dense)
    settings = Settings(train_embeddings=learns)
    made = Learner(one, find_head(one, TOKENS), find_head(other, TOKENS), dtype, settings)
    own = {parameter.data_ptr() for parameter in pruned.parameters()}
    heads = {head.weight.data_ptr(): head.weight for head in (made._head, made._teacher)}
    kept = [weight for place, weight in heads.items() if place not in own]
    assert len(kept) == heads_kept(settings, dtype)
    assert {weight.dtype for weight in kept} <= {dtype}


def test_a_part_of_the_vocabulary_stands_for_all_of_it(tmp_path: Path) -> None:
    pruned, dense = model("llama", 1), model("llama", 2)
    whole, batch = learner(pruned, dense, tmp_path / "a", sampled=0)
    part, drawn = learner(pruned, dense, tmp_path / "b", sampled=20)
    names = [name for name, parameter in whole.named_parameters() if parameter.requires_grad]
    exact = gradient(whole, batch, names)
    mean = torch.zeros_like(exact)
    for draw in range(20):
        mean += gradient(part, drawn | {"draw": torch.full((3,), draw)}, names) / 20
    assert float(torch.nn.functional.cosine_similarity(mean, exact, dim=0)) > 0.97
    assert float(mean.norm() / exact.norm()) == pytest.approx(1, abs=0.1)


def test_likely_tokens_are_found_among_a_languages_own(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    head = PlainHead(torch.randn((300, 8), generator=generator), None)
    hidden = torch.randn((64, 8), generator=generator)
    ids = head.logits(hidden).argmax(1).view(2, 32)
    whole = head.logits(hidden).topk(4).indices

    def shared() -> float:
        found = targets._likely_in_language(head, hidden, ids, 4)
        assert found.shape == (64, 4)
        assert all(len({*row}) == 4 for row in found.tolist())
        assert all(first in row for first, row in zip(ids.flatten(), found, strict=True))
        rows = zip(whole.tolist(), found.tolist(), strict=True)
        return sum(len({*one} & {*other}) for one, other in rows) / whole.numel()

    assert 0.5 < shared() < 1
    monkeypatch.setattr(targets, "SPREAD", 1)
    assert shared() == 1


def gradient(made: Learner, batch: dict[str, torch.Tensor], names: list[str]) -> torch.Tensor:
    parameters = dict(made.named_parameters())
    found = torch.autograd.grad(made(**batch)["loss"], [parameters[name] for name in names])
    return torch.cat([one.flatten() for one in found])


def lessons(weights: dict[str, float], held_out: int | None = None) -> Lessons:
    return Lessons.of(
        windows_object(token_windows({"de": (9, 8), "sw": (3, 8)})), weights, held_out
    )


def test_languages_take_turns_by_their_weights() -> None:
    made = lessons({"de": 0.75, "sw": 0.25})
    assert made.to_learn == {"de": 8, "sw": 2}
    assert made.watched == [("de", 8), ("sw", 2)]
    order = made.order(80, seed=3)
    for start in range(0, 80, 8):
        assert Counter(tag for tag, _ in order[start : start + 8]) == {"de": 6, "sw": 2}
    german = [place for tag, place in order if tag == "de"]
    assert sorted(german[:8]) == [*range(8)] != german[:8]
    assert sorted(german[8:16]) == [*range(8)]
    assert german[8:16] != german[:8]
    assert made.order(13, seed=3) == order[:13]
    assert made.order(80, seed=4) != order
    assert {tag for tag, _ in lessons({"de": 1.0, "sw": 0.0}).order(8, 0)} == {"de"}


def test_text_that_comes_again_and_again_is_named(caplog: pytest.LogCaptureFixture) -> None:
    passes = lessons({"de": 0.75, "sw": 0.25}).passes(128)
    assert passes == {"de": 12, "sw": 16}
    warn_of_many_passes({"de": 12.0})
    assert not caplog.records
    warn_of_many_passes({**passes, "mul": 30.2})
    (line,) = caplog.messages
    assert "of sw 16 times, mul 30 times: more text brings more than more passes; of mul by" in line


def test_languages_that_are_behind_take_more_turns() -> None:
    made = lessons({"de": 0.75, "sw": 0.25})
    weights = made.behind({"de": 0.5, "sw": 0.8})
    assert weights["sw"] / weights["de"] == pytest.approx(1 / 3 * (0.8 / 0.5) ** 4)
    assert made.behind({"de": 0.1, "sw": 0.1}) == made.weights
    assert made.behind({"de": 0.0, "sw": 0.1})["de"] > 0
    assert made.behind({"de": 0.1})["sw"] == pytest.approx(0.25)  # text of nobody's language
    order = made.order(80, 3, {40: {"de": 0.25, "sw": 0.75}})
    assert order[:40] == made.order(80, 3)[:40]
    assert Counter(tag for tag, _ in order[40:]) == {"de": 10, "sw": 30}


def test_a_language_without_weight_is_no_measure_for_others() -> None:
    tokens = token_windows({"de": (9, 8), "sw": (3, 8), "fr": (3, 8)})
    weights = {"de": 0.5, "sw": 0.5, "fr": 0.0}
    made = Lessons.of(windows_object(tokens), weights, None)
    found = made.behind({"de": 0.1, "sw": 0.2, "fr": 0.9})
    assert found["sw"] / found["de"] == pytest.approx(2**4)
    before = dict.fromkeys(weights, 1.0)
    course: Any = None
    watch = Watch(course, [*weights], weights, before)
    assert watch.left({"de": 0.1, "sw": 0.2, "fr": 0.9}) == {"de": 0.1, "sw": 0.2}


def test_a_language_with_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="made up, sw: expected at least 4 windows: 3 held out"):
        lessons({"de": 0.5, "sw": 0.5}, held_out=3)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": 0}, {"learning_rate": float("nan")}, {"batch": 1.5},
     {"at_once": 3}, {"held_out": 0}, {"sampled": -1}, {"low_rank": 0}, {"patience": 0}],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^recover: {next(iter(wrong))}: expected "):
        validated(Settings, wrong, "recover")


def test_settings_that_cannot_be_are_told_together() -> None:
    with pytest.raises(InputError) as error:
        validated(Settings, {"steps": 0, "objective": "median", "btach": 4}, "recover")
    assert error.value.problems == (
        "recover: steps: expected 1 or more, found 0",
        "recover: objective: expected 'mean' or 'worst', found median",
        "recover: btach: unknown field; did you mean 'batch'? choose one of "
        + ", ".join(sorted(Settings.model_fields)),
    )


def test_steps_follow_from_the_text() -> None:
    assert Settings().steps_for(168) == 672
    assert Settings().steps_for(10_000) == 2400
    assert Settings(batch=8).steps_for(168) == 84
    assert Settings(batch=7).steps_for(10_000) == 343
    assert Settings(steps=7).steps_for(10_000) == 7


def test_several_processes_have_a_window_each_unless_a_batch_is_asked_for() -> None:
    assert [Settings().among(n).batch for n in (1, 3)] == [1, 3]
    assert Settings(batch=6).among(3).batch == 6
    assert Settings(batch=6).windows_at_once(3) == 2
    with pytest.raises(InputError, match="batch: expected a multiple of the 3 processes, found 8"):
        Settings(batch=8).windows_at_once(3)
    assert AfterPrune(steps=3).alone == {"steps": 3}


def test_the_rate_is_lower_near_the_dense_model() -> None:
    def rate(divergence: float, **asked: Any) -> float | None:
        return Settings(**asked).starting(divergence).learning_rate

    assert [rate(d) for d in (2.0, 0.4, 0.1, 0.0)] == [2e-5, 2e-5, 1e-5, 0.0]
    assert [rate(1.0, batch=n) for n in (2, 4, 8)] == [2.83e-5, 4e-5, 5e-5]
    assert [rate(d, low_rank=8) for d in (1.0, 0.1)] == [2e-4, 1e-4]
    assert rate(0.1, low_rank=8, learning_rate=1e-3) == 1e-3


def test_a_module_whose_matrix_is_no_linear_stays_whole() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    few = {"intermediate_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2}
    for config, learn, stay in (
        (
            GptOssConfig(**sizes, **heads, **few),
            {"experts.down_proj", "experts.down_proj_bias", "self_attn.sinks", "k_proj.bias"},
            {"router.weight", "router.bias"},
        ),
        (
            MambaConfig(**sizes, state_size=8),
            {"mixer.in_proj.weight", "norm.weight"},
            {"mixer.D", "mixer.A_log", "mixer.conv1d.weight", "mixer.conv1d.bias"},
        ),
    ):
        made = AutoModelForCausalLM.from_config(config)
        found = {id(one) for one in learning(MemoryDecoder(made), Settings())}
        names = {name: id(one) in found for name, one in made.named_parameters()}
        for ends, expected in ((learn, True), (stay, False)):
            for end in ends:
                assert {on for name, on in names.items() if name.endswith(end)} == {expected}, end


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_windows_of_every_language_go_round_the_processes(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MemoryDecoder(model("llama", 1))
    teacher, options = find_head(other, TOKENS), RunOptions(batch_tokens=48)
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    for folder in (shared, alone):
        folder.mkdir()
    monkeypatch.setattr(targets, "SPREAD", 1)  # all positions are searched, in whichever process
    take_targets(other, TOKENS, teacher, alone, ALONE, options, likely=True)
    for rank in range(processes):
        ranks = Ranks(rank, processes)
        take_targets(other, TOKENS, teacher, shared, ranks, options, likely=True)
    one, many = Targets(alone), Targets(shared, processes)
    for tag, ids in TOKENS.items():
        for place in range(len(ids)):
            torch.testing.assert_close(many.hidden((tag, place)), one.hidden((tag, place)))
            found, whole = ({*there.likely((tag, place))[0].tolist()} for there in (many, one))
            assert found == whole


def test_a_float16_model_learns_in_float32_where_there_is_no_bfloat16(
    counting: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "source_dtype", lambda checkpoint: checkpoint)
    there = torch.device(KIND, 0)

    def products(source: torch.dtype) -> torch.dtype:
        return task.products_of(SimpleNamespace(checkpoint=source), RunOptions(), there)  # type: ignore[arg-type]

    with counting.there():
        assert products(torch.float16) == products(torch.bfloat16) == torch.bfloat16
        assert products(torch.float32) == torch.float32
    with counting.there(bfloat16=False):
        assert products(torch.float16) == products(torch.bfloat16) == torch.float32


class _Others(Ranks):
    """Of two processes the one that does not write: what it is sent are threes."""

    def __init__(self) -> None:
        super().__init__(1, 2)

    def send(self, tensor: torch.Tensor, owner: int) -> torch.Tensor:
        assert owner == 0
        return torch.full_like(tensor, 3)


def test_processes_take_the_losses_of_the_one_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "losses", lambda *_: {"de": 1.0, "sw": 2.0})
    told: Any = None
    alone, other = Watch(told, [], {}), Watch(told, [], {}, ranks=_Others())
    assert alone.agreed(told, HOST) == {"de": 1.0, "sw": 2.0}
    assert other.agreed(told, HOST) == {"de": 3.0, "sw": 3.0}


def test_processes_take_the_rates_of_the_one_that_writes() -> None:
    made = model("llama", 1)
    decoder = MemoryDecoder(made)
    with torch.no_grad():
        found = input_rates(decoder, lambda: made(torch.tensor([[5, 6]])), _Others())
    assert {linear.name for linear in found.rates} == {
        linear.name for linear in decoder.structure.linears()
    }
    assert all(bool((rates == 3).all()) for rates in found.rates.values())
