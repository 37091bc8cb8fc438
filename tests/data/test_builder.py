"""The shares that processes take of a batch."""

from hypothesis import given
from hypothesis import strategies as st

from xfm.data.builder import RankShare


@given(st.integers(0, 200), st.integers(1, 5), st.integers(1, 40))
def test_shares_are_the_batch_in_order_and_groups_stay_whole(groups, group, world):
    shares = [RankShare(rank, world).of(groups * group, group) for rank in range(world)]
    assert [sample for share in shares for sample in share] == list(range(groups * group))
    assert all(share.start % group == share.stop % group == 0 for share in shares)
    sizes = [len(share) // group for share in shares]
    assert max(sizes) - min(sizes) <= 1
    if groups >= world:
        assert min(sizes) >= 1
