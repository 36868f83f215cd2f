"""Estimates: a number from measurements, by ridge regression."""

from acme_kinds.estimate.spec import Estimate
from launchyard.contract.evaluation import Metric
from launchyard.evaluation.figures import Caption
from launchyard.kind import Kind

METRICS = {
    "mae": Metric(
        better="min",
        name=Caption(en="Mean absolute error", zh="平均绝对误差"),
        help=Caption(en="How far estimate and truth lie apart on average.", zh="估计值与真实值的平均差距。"),
    ),
    "rmse": Metric(
        better="min",
        name=Caption(en="Root mean square error", zh="均方根误差"),
        help=Caption(
            en="As the mean absolute error, large errors counting more.", zh="与平均绝对误差相似，但更看重大的误差。"
        ),
        is_loss=True,
    ),
    "r2": Metric(
        better="max",
        name=Caption(en="Variance explained", zh="解释的方差"),
        help=Caption(
            en="Share of the truth's variance that the estimates explain.", zh="估计值所解释的真实值方差的比例。"
        ),
        undefined="all test rows have one truth",
    ),
}

KIND = Kind(
    name="acme-estimate",
    summary="A number from measurements: prices, durations, risks.",
    spec=Estimate,
    recipe="acme_kinds.estimate.data:MeasurementRecipe",
    fit="acme_kinds.estimate.fit:fit_ridge",
    evaluator="acme_kinds.estimate.evaluate:EstimateEvaluator",
    predictor="acme_kinds.estimate.predict:EstimatePredictor",
    feedback="acme_kinds.estimate.feedback:TrueNumber",
    metrics=METRICS,
    headline="mae",
    example_input='{"size": 3, "age": 40}',
)
