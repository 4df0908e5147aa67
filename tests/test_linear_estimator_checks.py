"""scikit-learn's own checks of estimators; what is expected to fail is listed with its reason."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from mtl_lib.linear import MultiTaskL21, MultiTaskOverlappedTraceNorm, MultiTaskScaledLatentTraceNorm
from mtl_lib.linear_classifiers import (
    MultiTaskOverlappedTraceNormClassifier,
    MultiTaskScaledLatentTraceNormClassifier,
    MultiTaskTraceNormClassifier,
)

# One of every combination of loss and solver; the other norms differ in their proximal step alone.
REPRESENTATIVES = [
    MultiTaskL21(0.1),
    MultiTaskOverlappedTraceNorm(0.1),
    MultiTaskScaledLatentTraceNorm(0.1),
    MultiTaskTraceNormClassifier(),
    MultiTaskOverlappedTraceNormClassifier(),
    MultiTaskScaledLatentTraceNormClassifier(),
]
CLASSIFIERS_FAIL = {
    "check_classifier_multioutput": "it indexes classes_ as if all outputs had the same labels; here, as in scikit-learn's "
    "own MultiOutputClassifier, classes_ is a list with the labels of every task"
}


def expected_failures(estimator):
    return CLASSIFIERS_FAIL if type(estimator).__name__.endswith("Classifier") else {}


@parametrize_with_checks(REPRESENTATIVES, expected_failed_checks=expected_failures)
def test_scikit_learn_accepts(estimator, check):
    check(estimator)
