"""Sampler chains: llama.cpp's samplers in the user's order, and samplers in Python."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llamasmith import Model, Session
from llamasmith import samplers as s
from llamasmith._native import _core
from llamasmith.errors import DecodeFailed, InvalidOption, SessionBusy, SessionClosed

if TYPE_CHECKING:
    from contexts import MakeContext

IDS = np.arange(3, 11, dtype=np.int32)
LOGITS = np.array([0, 1, 2, 3, 4, 5, 6, 7], np.float32)

EVERY: list[s.Sampler] = [
    s.TopK(20),
    s.TopP(0.9),
    s.MinP(0.01),
    s.Typical(0.9),
    s.Temp(0.7),
    s.TempExt(0.7, 0.2, 1.0),
    s.Xtc(0.5, 0.1, seed=1),
    s.TopNSigma(2.0),
    s.Penalties(64, 1.1, 0.1, 0.1),
    s.Dry(),
    s.LogitBias({5: 1.0}),
    s.Infill(),
    s.Grammar("root ::= [a-z ]+"),
    s.GrammarLazy("root ::= [a-z]+", trigger_patterns=["x(y)"]),
    s.GrammarLazy("root ::= [a-z]+", trigger_tokens=[5]),
    s.Custom(),
]
CHOOSERS: list[s.Sampler] = [s.Greedy(), s.Dist(1), s.Mirostat(1), s.MirostatV2(1), s.AdaptiveP(0.5, seed=1)]


def apply(chain: _core.SamplerChain) -> tuple[list[int], list[float], int]:
    ids, logits, _, selected = chain.apply(IDS, LOGITS)
    return list(map(int, ids)), list(map(float, logits)), selected


@pytest.mark.parametrize("sampler", EVERY, ids=lambda sampler: type(sampler).__name__)
def test_every_sampler_generates(session: Session, sampler: s.Sampler) -> None:
    result = session.generate("hello", max_tokens=4, samplers=[sampler, s.Dist(3)], ignore_eos=True)
    assert len(result.tokens) == 4
    again = session.generate("hello", max_tokens=4, samplers=[sampler, s.Dist(3)], ignore_eos=True)
    assert again.tokens == result.tokens


@pytest.mark.parametrize("sampler", CHOOSERS, ids=lambda sampler: type(sampler).__name__)
def test_every_sampler_that_chooses(session: Session, sampler: s.Sampler) -> None:
    result = session.generate("hello", max_tokens=4, samplers=[sampler], ignore_eos=True)
    assert len(result.tokens) == 4


def test_the_plain_options_are_a_chain(session: Session) -> None:
    plain = session.generate("hello", max_tokens=12, temperature=0.9, top_k=30, top_p=0.9, seed=5, ignore_eos=True)
    chain = [s.TopK(30), s.TopP(0.9), s.Temp(0.9), s.Dist(5)]
    assert session.generate("hello", max_tokens=12, samplers=chain, ignore_eos=True).tokens == plain.tokens
    greedy = session.generate("hello", max_tokens=12, temperature=0, ignore_eos=True)
    assert session.generate("hello", max_tokens=12, samplers=[s.Greedy()], ignore_eos=True).tokens == greedy.tokens


def test_the_order_counts(tiny: Model) -> None:
    one = s.sampler_chain(tiny, [s.LogitBias({3: 100.0}), s.TopK(2)])
    two = s.sampler_chain(tiny, [s.TopK(2), s.LogitBias({3: 100.0})])
    assert sorted(apply(one)[0]) == [3, 10]
    assert sorted(apply(two)[0]) == [9, 10]
    assert (one.names, len(two)) == (("logit_bias", "top_k"), 2)


def test_what_samplers_do(tiny: Model) -> None:
    assert apply(s.sampler_chain(tiny, [s.TopK(3)]))[0] == [10, 9, 8]
    assert apply(s.sampler_chain(tiny, [s.Temp(2.0)]))[1] == [x / 2 for x in map(float, LOGITS)]
    assert apply(s.sampler_chain(tiny, [s.Greedy()]))[2] == 10
    assert apply(s.sampler_chain(tiny, [s.LogitBias({10: float("-inf")}), s.Greedy()]))[2] == 9
    penalties = s.sampler_chain(tiny, [s.Penalties(8, 1.0, 0.0, 2.5)])
    penalties.accept(10)
    assert apply(penalties)[1][7] == 4.5
    penalties.reset()
    assert apply(penalties)[1][7] == 7.0


def test_clones_have_a_state_of_their_own(tiny: Model) -> None:
    chain = s.sampler_chain(tiny, [s.Penalties(8, 1.0, 0.0, 2.5), s.Custom(), s.Greedy()])
    chain.accept(10)
    clone = chain.clone()
    assert clone.names == chain.names
    chain.accept(9)
    assert apply(chain)[2] == 8
    assert apply(clone)[2] == 9
    clone.remove(0)
    assert clone.names == ("custom", "greedy")
    assert apply(clone)[2] == 10
    clone.remove(0)
    assert clone.names == ("greedy",)
    assert clone.perf()["n_sample"] >= 0
    clone.perf_reset()
    assert s.sampler_chain(tiny, [s.Dist(7)]).seed == 7


def test_chains_for_each_row(make_context: MakeContext, tiny: Model) -> None:
    context = make_context(n_seq_max=3, n_outputs_max=3)
    batch = _core.Batch(context)
    for seq_id, tokens in enumerate(([1, 70], [1, 80, 81], [1])):
        batch.extend(tokens, pos=0, seq_id=seq_id, every_output=False)
    context.process(batch, encode=False)
    chains = [s.sampler_chain(tiny, [s.Greedy()]) for _ in range(3)]
    rows = [1, 4, 5]
    expected = [int(context.logits(row, copy=True).argmax()) for row in rows]
    assert context.sample(chains, rows) == expected
    with pytest.raises(InvalidOption, match="one for each"):
        context.sample(chains, [1])
    with pytest.raises(InvalidOption, match="without output"):
        context.sample(chains, [0, 1, 2])


def test_a_grammar_is_obeyed(smollm2: Model) -> None:
    with Session(smollm2, n_ctx=256) as session:
        chain = [s.Grammar('root ::= "yes" | "no"'), s.Greedy()]
        result = session.generate("Is water wet? Answer:", max_tokens=8, samplers=chain)
        assert result.text in {"yes", "no"}
        assert result.stop_reason == "eos"


def test_a_grammar_refuses_what_it_does_not_allow(tiny: Model) -> None:
    chain = s.sampler_chain(tiny, [s.Grammar('root ::= "a" "b"'), s.Greedy()])
    a, b = (tiny.vocab.pieces(special=False).index(letter) for letter in (b"a", b"b"))
    eos = tiny.token_eos
    for token in (b, eos):
        with pytest.raises(InvalidOption, match="grammar does not allow token"):
            chain.accept(token)
    chain.accept(a)
    chain.accept(b)
    chain.accept(eos)
    chain.reset()
    chain.accept(a)
    every_a = [token for token, piece in enumerate(tiny.vocab.pieces(special=False)) if piece == b"a"]
    none = s.sampler_chain(
        tiny, [s.Grammar('root ::= "a"'), s.LogitBias(dict.fromkeys(every_a, float("-inf"))), s.Greedy()]
    )
    with Session(tiny, n_ctx=256) as session, pytest.raises(DecodeFailed, match="No token is left"):
        session.generate("hello", max_tokens=3, samplers=none)


GRAMMARS: list[tuple[str, str]] = [
    ("", "0 bytes"),
    ("root", "cannot be used"),
    ("root ::= ", ""),
    ("root ::= missing", "cannot be used"),
    ("root ::= root", "cannot be used"),
    ("other ::= [a-z]", "cannot be used"),
    ("root ::= [a-", "cannot be used"),
    ('root ::= "a', "cannot be used"),
    ("root ::= (" * 300, "too large"),
    ("root ::= " + "(" * 5000 + '"a"' + ")" * 5000, "too large"),
    ("root ::= [a-z]{1000000}", "cannot be used"),
    ("root ::= [a-z]{99999999999999999999999999}", "cannot be used"),
    ("\n".join(f"r{i} ::= r{i + 1}" for i in range(20000)), "too large"),
    ("root ::= \0", "NUL"),
    ("x" * 2**21, "bytes"),
]


@pytest.mark.parametrize("index", range(len(GRAMMARS)))
def test_grammars_that_are_wrong(tiny: Model, index: int) -> None:
    text, message = GRAMMARS[index]
    if not message:  # empty rules are allowed
        s.sampler_chain(tiny, [s.Grammar(text)])
        return
    with pytest.raises(InvalidOption, match=message):
        s.sampler_chain(tiny, [s.Grammar(text)])


def test_a_lazy_grammar_wakes_up(tiny: Model) -> None:
    pieces = tiny.vocab.pieces(special=False)
    a, b, c = (pieces.index(letter) for letter in (b"a", b"b", b"c"))
    chain = s.sampler_chain(tiny, [s.GrammarLazy('root ::= "a" "b"', trigger_tokens=[a]), s.Greedy()])
    for token in (c, b, c, a):
        chain.accept(token)
    with pytest.raises(InvalidOption, match="does not allow"):
        chain.accept(c)
    chain.accept(b)
    by_text = s.sampler_chain(tiny, [s.GrammarLazy('root ::= "a" "b"', trigger_patterns=["[\\s\\S]*c(a)[\\s\\S]*"])])
    for token in (b, c, a, b):
        by_text.accept(token)
    with pytest.raises(InvalidOption, match="does not allow"):
        by_text.accept(b)


def test_a_lazy_grammar_that_never_wakes_says_so(tiny: Model) -> None:
    """Upstream would match its patterns against all text so far, with a stack as deep as it is long."""
    b = tiny.vocab.pieces(special=False).index(b" world")
    chain = s.sampler_chain(tiny, [s.GrammarLazy('root ::= "a"', trigger_patterns=["x(a)"])])
    for _ in range(8192 // 6):
        chain.accept(b)
    with pytest.raises(DecodeFailed, match="not triggered within 8192"):
        chain.accept(b)
    chain.reset()
    chain.accept(b)


def test_a_lazy_grammar_that_goes_wrong_is_reset(tiny: Model) -> None:
    """The trigger's own text does not fit the grammar: upstream throws half way, and would abort at the next call."""
    pieces = tiny.vocab.pieces(special=False)
    a, c = pieces.index(b"a"), pieces.index(b"c")
    chain = s.sampler_chain(tiny, [s.GrammarLazy('root ::= "b"', trigger_patterns=["[\\s\\S]*(a)"]), s.Greedy()])
    with pytest.raises(DecodeFailed, match="reset"):
        chain.accept(a)
    for use in (lambda: chain.accept(c), lambda: apply(chain)):
        with pytest.raises(DecodeFailed, match="reset"):
            use()
    chain.reset()
    chain.accept(c)


class Recorder:
    """A sampler that forbids all but one token, and notes what it is told."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.accepted: list[int] = []
        self.resets = 0

    def __call__(self, ids: Any, logits: Any) -> Any:
        assert ids.dtype == np.int32
        assert logits.dtype == np.float32
        assert ids.shape == logits.shape
        return np.where(ids == self.token, logits, -np.inf)

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def reset(self) -> None:
        self.resets += 1

    def clone(self) -> Recorder:
        return Recorder(self.token)


def test_a_sampler_in_python_chooses(session: Session, tiny: Model) -> None:
    recorder = Recorder(99)
    chain = s.sampler_chain(tiny, [s.Custom(recorder), s.Dist(1)])
    assert session.generate("hello", max_tokens=5, samplers=chain).tokens == (99,) * 5
    assert recorder.accepted == [99] * 5
    chain.reset()
    assert recorder.resets == 1
    clone = chain.clone()
    clone.accept(4)
    assert recorder.accepted == [99] * 5

    def in_place(ids: Any, logits: Any) -> None:
        logits[ids != 70] = -np.inf

    assert session.generate("hello", max_tokens=2, samplers=[s.Custom(in_place), s.Greedy()]).tokens == (70, 70)


@pytest.mark.parametrize("where", ["apply", "accept"])
def test_an_exception_in_a_sampler_comes_out_as_itself(session: Session, where: str) -> None:
    class Mine(Exception):
        pass

    class Failing:
        calls = 0

        def __call__(self, ids: Any, logits: Any) -> None:
            Failing.calls += 1
            if where == "apply" and Failing.calls == 3:
                raise Mine("from within")

        def accept(self, token: int) -> None:
            if where == "accept" and Failing.calls == 3:
                raise Mine("from within")

    with pytest.raises(Mine, match="from within"):
        session.generate("hello", max_tokens=10, samplers=[s.Custom(Failing()), s.Greedy()], ignore_eos=True)
    assert session.n_past == 0 or session.n_past > 0  # usable
    assert session.generate("hello", max_tokens=3, temperature=0, ignore_eos=True).tokens


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0, 2.0], "2 values"),
        ("text", "Allowed: None, or an array"),
        (np.zeros((2, 2)), "values"),
        (object(), "array"),
    ],
)
def test_samplers_in_python_that_return_nonsense(session: Session, returned: Any, message: str) -> None:
    chain = [s.Custom(lambda ids, logits: returned), s.Greedy()]
    with pytest.raises(InvalidOption, match=message):
        session.generate("hello", max_tokens=3, samplers=chain)

    def nan(ids: Any, logits: Any) -> None:
        logits[5] = np.nan

    with pytest.raises(InvalidOption, match="not a number"):
        session.generate("hello", max_tokens=3, samplers=[s.Custom(nan), s.Greedy()])


def test_a_sampler_in_python_that_uses_its_session(session: Session) -> None:
    def greedy_for_more(ids: Any, logits: Any) -> None:
        session.decode([1])

    with pytest.raises(SessionBusy):
        session.generate("hello", max_tokens=3, samplers=[s.Custom(greedy_for_more), s.Greedy()])


def test_one_call_at_a_time(tiny: Model) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(ids: Any, logits: Any) -> None:
        entered.set()
        leave.wait(60)

    chain = s.sampler_chain(tiny, [s.Custom(slow)])
    thread = threading.Thread(target=apply, args=(chain,))
    thread.start()
    assert entered.wait(60)
    try:
        for use in (chain.reset, chain.clone, lambda: chain.accept(3), lambda: apply(chain), lambda: chain.remove(0)):
            with pytest.raises(SessionBusy, match="clone"):
                use()
    finally:
        leave.set()
        thread.join()
    chain.reset()


WRONG: list[tuple[s.Sampler, str]] = [
    (s.TopK(-1), "k is -1"),
    (s.TopK(2**40), "k is"),
    (s.TopP(1.5), "p is 1.5"),
    (s.TopP(float("nan")), "p is nan"),
    (s.TopP(0.5, min_keep=-1), "min_keep is -1"),
    (s.Temp(-1.0), "t is -1"),
    (s.Temp(float("inf")), "t is inf"),
    (s.Xtc(2.0), "p is 2"),
    (s.TopNSigma(float("nan")), "n is nan"),
    (s.Mirostat(1, m=1), "m is 1"),
    (s.Mirostat(1, m=10**9), "m is 1000000000"),
    (s.MirostatV2(1, tau=float("nan")), "tau is nan"),
    (s.Penalties(last_n=-1), "last_n is -1"),
    (s.Penalties(last_n=2**30), "last_n"),
    (s.Penalties(repeat=0.0), "repeat is 0"),
    (s.Penalties(freq=float("inf")), "freq is inf"),
    (s.Dry(base=float("nan")), "base is nan"),
    (s.Dry(allowed_length=0), "allowed_length is 0"),
    (s.Dry(breakers=[""]), "sequence breaker"),
    (s.Dry(breakers=["x"] * 300), "number of sequence breakers"),
    (s.AdaptiveP(decay=1.0), "decay is 1"),
    (s.LogitBias({10**6: 1.0}), "not in the vocabulary"),
    (s.LogitBias({-1: 1.0}), "not in the vocabulary"),
    (s.LogitBias({5: float("nan")}), "not a number"),
    (s.Dist(seed=-1), "seed is -1"),
    (s.Dist(seed=2**32), "seed is 4294967296"),
    (s.GrammarLazy("root ::= [a]"), "trigger_patterns or trigger_tokens"),
    (s.GrammarLazy("root ::= [a]", trigger_patterns=["("]), "no regular expression"),
    (s.GrammarLazy("root ::= [a]", trigger_patterns=["x" * 600]), "600 bytes"),
    (s.GrammarLazy("root ::= [a]", trigger_tokens=[10**6]), "not in the vocabulary"),
]


@pytest.mark.parametrize("index", range(len(WRONG)))
def test_options_that_are_wrong(tiny: Model, index: int) -> None:
    sampler, message = WRONG[index]
    with pytest.raises(InvalidOption, match=message):
        s.sampler_chain(tiny, [sampler])


def test_chains_that_are_wrong(tiny: Model, tiny_path: Any, session: Session) -> None:
    with pytest.raises(InvalidOption, match="has no effect"):
        s.sampler_chain(tiny, [s.Greedy(), s.TopK(3)])
    with pytest.raises(InvalidOption, match="does not choose"):
        session.generate("hello", samplers=[s.TopK(3)])
    with pytest.raises(InvalidOption, match="does not choose"):
        session.generate("hello", samplers=[])
    with pytest.raises(InvalidOption, match="no sampler"):
        s.sampler_chain(tiny, ["top_k"])  # type: ignore[list-item]
    with pytest.raises(InvalidOption, match="There is no sampler 'top_x'"):
        _core.SamplerChain(tiny._native, [("top_x", {})])
    with pytest.raises(TypeError, match="no option 'q'"):
        _core.SamplerChain(tiny._native, [("top_k", {"q": 1})])
    with pytest.raises(TypeError, match="callable"):
        s.sampler_chain(tiny, [s.Custom(7)])  # type: ignore[arg-type]
    chain = s.sampler_chain(tiny, [s.Greedy()])
    for ids, logits, message in [
        (IDS[:0], LOGITS[:0], "no candidates"),
        (IDS[:3], LOGITS, "one length"),
        (np.array([10**6], np.int32), LOGITS[:1], "not in the vocabulary"),
        (IDS[:1], np.array([np.nan], np.float32), "not a number"),
    ]:
        with pytest.raises(InvalidOption, match=message):
            chain.apply(ids, logits)
    with pytest.raises(InvalidOption, match="not in the vocabulary"):
        chain.accept(10**6)
    with pytest.raises(InvalidOption, match="index"):
        chain.remove(1)
    with Model(tiny_path) as other:
        foreign = s.sampler_chain(other, [s.Greedy()])
    with pytest.raises(InvalidOption, match="another model"):
        session.generate("hello", samplers=foreign)
    with pytest.raises(SessionClosed):
        s.sampler_chain(other, [s.Greedy()])
    assert apply(foreign)[2] == 10  # it keeps the model alive
