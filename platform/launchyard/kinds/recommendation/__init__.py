"""Recommendation: what a person may want next, from what people did before."""

from launchyard.kind import Kind
from launchyard.kinds.recommendation.spec import Recommendation

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
    metrics={
        "ndcg@10": "max",
        "recall@10": "max",
        "mrr@10": "max",
        "ndcg@20": "max",
        "recall@20": "max",
        "coverage@10": "max",
        "diversity@10": "max",
        "novelty@10": "max",
        "popularity_bias@10": "min",
    },
    measured_late=frozenset({"diversity@10"}),
    undefined={
        "diversity@10": "no list holds two items with a category; data.items.categories names their column",
        **dict.fromkeys(("novelty@10", "popularity_bias@10"), "nobody is recommended anything"),
    },
)
