"""The generators of samples."""

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xfm.data.rng import mix, sample_generator

numbers = st.integers(0, 2**63)


@given(numbers, st.integers(0, 3), numbers)
def test_a_sample_has_a_philox_of_its_own_key(seed, stream, position):
    key = np.array([mix(seed, stream), position], dtype=np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key))
    found = sample_generator(seed, stream, position)
    again = pickle.loads(pickle.dumps(found))
    draws = [one.random(9).tolist() + one.permutation(9).tolist() for one in (expected, found, again)]
    assert draws[0] == draws[1] == draws[2]
