"""Recommendation: what a person may want next, from what people did before."""

from dataclasses import replace

from launchyard.evaluation.metrics.named import RANKING
from launchyard.kind import Kind
from launchyard.kinds.recommendation.spec import Recommendation

NO_CATEGORIES = "no list holds two items with a category; data.items.categories names their column"
NOBODY = "nobody is recommended anything"
METRICS = {
    **RANKING,
    "diversity@10": replace(RANKING["diversity@10"], measured_late=True, undefined=NO_CATEGORIES),
    "novelty@10": replace(RANKING["novelty@10"], undefined=NOBODY),
    "popularity_bias@10": replace(RANKING["popularity_bias@10"], undefined=NOBODY),
}

KIND = Kind(
    name="recommendation",
    summary="What a person may want next: products, films, articles, people.",
    spec=Recommendation,
    example_input='{"user": "42"}',
    recipe="launchyard.kinds.recommendation.data.recipe:EventRecipe",
    prepare="launchyard.kinds.recommendation.data.prepare:prepare_events",
    features="launchyard.kinds.recommendation.data.profiles:describe_features",
    identify="launchyard.kinds.recommendation.data.row_names:name_events",
    serving_state="launchyard.kinds.recommendation.predict.serving_state:RecommendationState",
    train="launchyard.kinds.recommendation.train.train:train_recommender",
    fit="launchyard.kinds.recommendation.train.fit:fit_recommender",
    evaluator="launchyard.kinds.recommendation.evaluate.evaluate:RankingEvaluator",
    predictor="launchyard.kinds.recommendation.predict.predict:RecommendationPredictor",
    export="launchyard.kinds.recommendation.train.export:export_recommender",
    metrics=METRICS,
    headline="ndcg@10",
    feedback="launchyard.kinds.recommendation.predict.feedback:ItemFeedback",
    propose="launchyard.kinds.recommendation.propose:propose_recommender",
)
