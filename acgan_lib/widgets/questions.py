"""Questions with a choice of answers: before a measurement, and at a chapter's end."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any, TypedDict

from acgan_lib.widgets.base import Face, bundle, style


class Question(TypedDict):
    """What ``ask`` returns."""

    question: str
    options: list[str]
    answer: int
    why: str


def ask(question: str, options: Sequence[str], *, answer: int, why: str) -> Question:
    """Return a question for ``quiz``. Backticks in its texts mark code; other markup is shown raw.

    Args:
        question: what is asked.
        options: at least 2 answers, all different.
        answer: the place of the right one, from 0.
        why: what the reader sees after an answer: the measured number and its reason.

    Raises:
        ValueError: a text is empty or leaves a backtick open, or options or answer are not so.
    """
    options, answer = list(options), operator.index(answer)
    texts = {"question": question, **{f"options[{i}]": o for i, o in enumerate(options)}}
    for name, text in {**texts, "why": why}.items():
        if not text.strip() or text.count("`") % 2:
            raise ValueError(f"{name} is empty or has a backtick that is not closed: {text!r}")
    if len(set(options)) < max(2, len(options)):
        raise ValueError(f"options must be at least 2 different texts, not {options}")
    if not 0 <= answer < len(options):
        raise ValueError(f"answer must lie in 0..{len(options) - 1}, not {answer}")
    return {"question": question, "options": options, "answer": answer, "why": why}


class Quiz(Face):
    """What ``quiz`` returns.

    Where a notebook is shown without widgets, as on GitHub, ``markdown`` stands in its place: the
    questions, each with its answer folded below.
    """

    _esm = bundle("quiz")
    _css = style("quiz")

    def __init__(self, questions: Sequence[Question], title: str) -> None:
        if not questions:
            raise ValueError("questions is empty")
        asked = [ask(**question) for question in questions]
        self.markdown = "\n\n".join([f"**{_escaped(title)}**", *map(_folded, asked)])
        spec = {"kind": "quiz", "title": title, "questions": asked}
        super().__init__(spec, "", f"questions={len(asked)}")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/markdown": self.markdown}, metadata


def quiz(questions: Sequence[Question], *, title: str = "Quiz") -> Quiz:
    """Return questions as a widget, alive without a kernel. A reader answers before the why shows.

    The cell that shows it asserts what its answers say::

        assert loss_g > loss_d
        quiz([ask("Whose loss is larger?", ["G's", "D's"], answer=0, why=f"G's: ≈ {loss_g:.2f}.")])

    Raises:
        ValueError: there is no question, or one is not as ``ask`` returns it.
    """
    return Quiz(questions, title)


def _folded(asked: Question) -> str:
    """A question in Markdown, its answer behind a fold."""
    options = [f"**{chr(97 + i)}** {_escaped(text)}" for i, text in enumerate(asked["options"])]
    answer = f"{options[asked['answer']].removesuffix('.')}. {_escaped(asked['why'])}"
    fold = f"<details><summary>Answer</summary>\n\n{answer}\n\n</details>"
    listed = "\n".join(f"- {option}" for option in options)
    return f"{_escaped(asked['question'])}\n\n{listed}\n\n{fold}"


def _escaped(text: str) -> str:
    """A text whose signs mean nothing in Markdown, code between backticks aside."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_$<>\[\]|#~])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
