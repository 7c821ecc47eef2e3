"""What every operator is: `LinearOperator`, and `SVDOperator` where an SVD exists."""

from vml_fast.operators.linear_operator import DEFAULT_RTOL, LinearOperator
from vml_fast.operators.svd_operator import SVDOperator

__all__ = ["DEFAULT_RTOL", "LinearOperator", "SVDOperator"]
