"""Restored pictures: small grey pictures in, the same without noise out, by one linear map of their pixels."""

from acme_kinds.restore.spec import Restore
from launchyard.contract.evaluation import Metric
from launchyard.evaluation.figures import Caption
from launchyard.kind import Kind

METRICS = {
    "psnr": Metric(
        better="max",
        name=Caption(en="Peak signal-to-noise ratio", zh="峰值信噪比"),
        help=Caption(
            en="How little noise is left; the mean over all pictures.", zh="残留噪声有多少；对所有图片取平均。"
        ),
        unit=Caption(en="dB", zh="分贝"),
    ),
    "pixel_error": Metric(
        better="min",
        name=Caption(en="Error of a pixel", zh="像素误差"),
        help=Caption(en="How far a pixel's shade lies off on average.", zh="像素灰度的平均偏差。"),
    ),
}

KIND = Kind(
    name="acme-restore",
    summary="Pictures without their noise, from pairs of noisy and clean ones.",
    spec=Restore,
    recipe="acme_kinds.restore.data:PictureRecipe",
    fit="acme_kinds.restore.fit:fit_map",
    evaluator="acme_kinds.restore.evaluate:PictureEvaluator",
    predictor="acme_kinds.restore.predict:PicturePredictor",
    feedback="acme_kinds.restore.feedback:Stars",
    compare="acme_kinds.restore.compare:compare_pictures",
    answers="singly",
    metrics=METRICS,
    headline="psnr",
    example_input='{"image": "<base64>"}',
)
