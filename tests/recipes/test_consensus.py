"""Agreement of captions: equal to pycocoevalcap's score, and more weight where people agree."""

from __future__ import annotations

import pytest

from recipes.consensus import CiderScorer, caption_weights

REFERENCES = [
    ["A dog runs through the grass.", "A brown dog is running in a field.", "The dog runs fast!"],
    ["Two men play football on a beach.", "Men kick a ball near the sea.", "Two men are on the sand."],
    ["A girl in a red dress jumps.", "A little girl jumps into the air.", "The girl in red is jumping."],
]
CHINESE = [
    ["一只狗在草地上跑。", "棕色的狗在跑。"],
    ["两个男人在踢球。", "男人们在海边玩。"],
    ["小女孩跳起来。", "女孩跳。"],
]
REPLIES = ["A dog runs in the grass.", "A man on a beach.", "A dog jumps."]


@pytest.mark.parametrize(
    ("references", "replies", "language"),
    [(REFERENCES, REPLIES, "en"), (CHINESE, ["狗在草地上跑。", "男人踢球。", ""], "zh")],
)
def test_the_score_is_that_of_pycocoevalcap(
    references: list[list[str]], replies: list[str], language: str
) -> None:
    pytest.importorskip("pycocoevalcap")
    from benchmarks.vision.captions import score_captions

    scorer = CiderScorer(references, language)
    ours = [scorer.score(reply, texts) for reply, texts in zip(replies, references, strict=True)]
    theirs = score_captions(replies, references, language)["cider"]
    assert sum(ours) / len(ours) == pytest.approx(theirs, rel=1e-9)
    assert ours[0] > 0.1


def test_captions_that_agree_weigh_more() -> None:
    captions = [
        "A dog runs through the grass.",
        "A dog runs in the grass.",
        "Somebody lost a stick yesterday.",
    ]
    weights = caption_weights(CiderScorer([captions, *REFERENCES[1:]], "en"), captions)
    assert min(weights[:2]) > 1.0 > weights[2] > 0.0
    assert caption_weights(CiderScorer([captions], "en"), captions[:1]) == [1.0]


def test_a_caption_agrees_with_nothing_where_there_is_nothing() -> None:
    assert CiderScorer([], "en").score("A dog.", []) == 0.0
