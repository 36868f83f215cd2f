"""Replies: the answer that a help desk gave to the most similar question, word by word. Nothing is trained."""

from acme_kinds.replies.spec import Replies
from launchyard.contract.evaluation import Metric
from launchyard.evaluation.figures import Caption
from launchyard.kind import Kind

METRICS = {
    "word_f1": Metric(
        better="max",
        name=Caption(en="Words in common", zh="共同词语"),
        help=Caption(
            en="Harmonic mean of the shares of words that reply and right reply have in common.",
            zh="回复与正确回复中共同词语所占比例的调和平均。",
        ),
    ),
    "exact": Metric(
        better="max",
        name=Caption(en="Same reply", zh="回复相同"),
        help=Caption(en="Share of the questions that got the right reply.", zh="得到正确回复的问题所占比例。"),
    ),
}

KIND = Kind(
    name="acme-replies",
    summary="Replies to questions, from those that a help desk gave before.",
    spec=Replies,
    recipe="acme_kinds.replies.data:ReplyRecipe",
    export="acme_kinds.replies.export:write_index",
    evaluator="acme_kinds.replies.evaluate:ReplyEvaluator",
    predictor="acme_kinds.replies.predict:ReplyPredictor",
    answers="streamed",
    routes="acme_kinds.replies.routes:list_routes",
    feedback="acme_kinds.replies.feedback:BetterReply",
    metrics=METRICS,
    headline="word_f1",
    example_input="How do I begin?",
)
