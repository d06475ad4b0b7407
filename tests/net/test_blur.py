"""The fast blur against SciPy's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sweepdepth.net.blur import TRUNCATE, gaussian_blur


@given(
    n=st.integers(0, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    sigma=st.floats(0.3, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_blur_agrees_with_scipy(n, height, width, sigma, seed):
    images = np.random.default_rng(seed).normal(size=(n, height, width)).astype(np.float32)
    expected = [gaussian_filter(image, sigma, truncate=TRUNCATE) for image in images]
    np.testing.assert_allclose(gaussian_blur(images, sigma), np.reshape(expected, images.shape), atol=1e-5)
