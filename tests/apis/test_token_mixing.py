import pytest

from mmvmamba.apis.bare_models import bare_config
from mmvmamba.apis.token_mixing import TokenMixing, stage_mixing

# Width, tokens, threshold, linear part, quadratic part, ratio, verdict: ViT of patches of 16 pixels
# on images of 224 x 224, 800 x 1280 and 512 x 2048.
PAPER = [
    (192, 196, 1152, 173_408_256, 29_503_488, 0.170139, 'not long-sequence'),
    (384, 196, 2304, 693_633_024, 59_006_976, 0.085069, 'not long-sequence'),
    (768, 196, 4608, 2_774_532_096, 118_013_952, 0.042535, 'not long-sequence'),
    (384, 4000, 2304, 14_155_776_000, 24_576_000_000, 1.736111, 'long-sequence'),
    (768, 4000, 4608, 56_623_104_000, 49_152_000_000, 0.868056, 'borderline'),
    (384, 4096, 2304, 14_495_514_624, 25_769_803_776, 1.777778, 'long-sequence'),
    (768, 4096, 4608, 57_982_058_496, 51_539_607_552, 0.888889, 'borderline'),
]


@pytest.mark.parametrize(('width', 'tokens', 'threshold', 'linear', 'quadratic', *'rv'), PAPER)
def test_the_conclusions_of_the_paper(width, tokens, threshold, linear, quadratic, r, v):
    mixing = TokenMixing(tokens, width)
    assert (mixing.linear, mixing.quadratic, mixing.verdict) == (linear, quadratic, v)
    assert mixing.threshold == pytest.approx(threshold)
    assert mixing.ratio == pytest.approx(r, abs=1e-6)


def test_causal_attention_needs_half_of_the_map():
    assert TokenMixing(4000, 384, causal=True).threshold == pytest.approx(12 * 384)


def test_a_narrow_mlp_lowers_the_threshold():
    assert TokenMixing(4000, 384, mlp_ratio=1).threshold == pytest.approx(3 * 384)


@pytest.mark.parametrize(
    ('shape', 'ratios'),
    [
        ((224, 224), (5.444, 0.681, 0.085, 0.014)),
        ((800, 1280), (111.1, 13.89, 1.736, 0.289)),
    ],
)
def test_stages_of_a_pyramid(shape, ratios):
    stages = stage_mixing(bare_config('mambaout_tiny'), shape)
    assert [stage.ratio for stage in stages] == pytest.approx(ratios, rel=2e-3, abs=1e-3)


def test_blocks_that_see_the_same_tokens_are_one():
    assert stage_mixing(bare_config('vit_small_visible')) == [TokenMixing(196, 384)]
    (adapter,) = stage_mixing(bare_config('l1_maskrcnn_1x'))
    assert (adapter.tokens, adapter.width) == (4000, 192)
