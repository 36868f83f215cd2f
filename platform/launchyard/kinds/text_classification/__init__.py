"""Text classification: one label per text, by fine-tuning a transformers encoder or decoder."""

from launchyard.evaluation.metrics.named import CLASSIFICATION
from launchyard.kind import Kind
from launchyard.kinds.text_classification.spec import TextClassification

KIND = Kind(
    name="text-classification",
    summary="One label per text: sentiment, intents, moderation.",
    spec=TextClassification,
    recipe="launchyard.kinds.text_classification.data:TextRecipe",
    train="launchyard.kinds.text_classification.train:train_text_classifier",
    evaluator="launchyard.kinds.text_classification.evaluate:TextEvaluator",
    predictor="launchyard.kinds.text_classification.predict:TextPredictor",
    metrics=CLASSIFICATION,
    headline="accuracy",
    export="launchyard.kinds.text_classification.export:export_text_classifier",
    propose="launchyard.kinds.text_classification.propose:propose_classifier",
)
