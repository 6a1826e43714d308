"""Classifier and Regressor keep scikit-learn's contract, by its own checks."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

import evergreen

ROUNDING = "sums of float32 differ in their last digits with the rows beside a row; scikit-learn compares to 1e-7"
INFERRED = "the columns of a frame are looked at: whole numbers may be categories, and names take part in the split"
EXPECTED = {
    "check_methods_sample_order_invariance": ROUNDING,
    "check_methods_subset_invariance": ROUNDING,
    "check_classifier_data_not_an_array": INFERRED,
    "check_regressor_data_not_an_array": INFERRED,
}


@pytest.mark.parametrize("estimator", [evergreen.Classifier, evergreen.Regressor])
def test_scikit_learn_s_own_checks_pass(estimator) -> None:
    check_estimator(estimator("mlp", epochs=15), expected_failed_checks=EXPECTED, on_skip=None)
