"""What torch itself offers, on every family that is a network of its own."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from mmvmamba.ops import scan_backend
from mmvmamba.ops.scan_order import cross_orders, snake_orders
from mmvmamba.testing import assert_close
from tests.models.test_backbone_contract import NAMES, build, image

FAMILIES = [name for name in NAMES if 'Adapter' not in name]
OFFERS = {}


def offer(function):
    OFFERS[function.__name__] = function
    return function


def output(backbone, images):
    with torch.no_grad():
        return backbone(images)[-1]


def gradients(module):
    """All gradients in one vector: those of biases before a BatchNorm are zero but for rounding."""
    found = (p.grad for p in module.parameters() if p.grad is not None)
    return torch.cat([getattr(x, 'full_tensor', lambda x=x: x)().flatten() for x in found])


def square_sum(maps):
    return sum(level.square().sum() for level in maps)


def as_before(got, backbone, images, tolerance=None):
    assert_close(got, output(backbone, images), 'map', tolerance)


@offer
def trace(backbone, images):
    with torch.no_grad(), scan_backend('export'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # sizes become constants
        traced = torch.jit.trace(backbone, images, check_trace=False)
    as_before(traced(images)[-1], backbone, images)


@offer
def export_with_a_fixed_size(backbone, images):
    with torch.no_grad():
        module = torch.export.export(backbone, (images,)).module()
    as_before(module(images)[-1], backbone, images)


@offer
def symbolic_trace(backbone, images):
    with torch.no_grad():
        traced = torch.fx.symbolic_trace(backbone)
        as_before(traced(images)[-1], backbone, images)
        # No size became a constant.
        other = image(96, 64, batch=3)
        as_before(traced(other)[-1], backbone, other)


@offer
def feature_extractor_of_torchvision(backbone, images):
    block = backbone.blocks_in_order()[1]
    name = next(name for name, module in backbone.named_modules() if module is block)
    seen = []
    block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    output(backbone, images)
    want = seen[-1][0] if isinstance(seen[-1], tuple) else seen[-1]
    names = get_graph_node_names(backbone)[1]
    inside = [node for node in names if node.startswith(f'{name}.')]
    assert inside, names
    with torch.no_grad():
        extractor = create_feature_extractor(
            backbone, eval_return_nodes=[inside[-1]], train_return_nodes=[inside[-1]]
        )
        got = extractor(images)[inside[-1]]
    assert_close(got, want, 'map')


@offer
def export_with_a_free_batch(backbone, images):
    batch = torch.export.Dim('batch', min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(backbone, (images,), dynamic_shapes=({0: batch},))
    more = image(64, 64, batch=3)
    as_before(program.module()(more)[-1], backbone, more)


@offer
def compile_for_inference(backbone, images):
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    as_before(output(compiled, images), backbone, images)


@offer
def compile_for_training(backbone, images):
    backbone.train()
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    square_sum(compiled(images)).backward()
    got = gradients(backbone)
    backbone.zero_grad()
    square_sum(backbone(images)).backward()
    assert_close(got, gradients(backbone), 'gradients', 1e-3)


@offer
def flop_counter(backbone, images):
    with FlopCounterMode(display=False) as counter:
        output(backbone, images)
    assert counter.get_total_flops() > 1e5


@offer
def deepcopy_and_pickle(backbone, images):
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        as_before(output(other, images), backbone, images, 0)


@offer
def bfloat16(backbone, images):
    half = output(copy.deepcopy(backbone).bfloat16(), images.bfloat16())
    assert half.dtype == torch.bfloat16 and half.isfinite().all()
    assert half.float().sub(output(backbone, images)).abs().mean() < 0.1


@offer
def float16(backbone, images):
    half = output(copy.deepcopy(backbone).half(), images.half())
    assert half.dtype == torch.float16 and half.isfinite().all()
    assert half.float().sub(output(backbone, images)).abs().mean() < 0.02


@offer
def dynamic_quantisation(backbone, images):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        quantised = torch.ao.quantization.quantize_dynamic(backbone, {nn.Linear}, torch.qint8)
    changed = [
        m for m in quantised.modules() if isinstance(m, torch.ao.nn.quantized.dynamic.Linear)
    ]
    assert changed
    similar = torch.cosine_similarity(
        output(quantised, images).flatten(), output(backbone, images).flatten(), dim=0
    )
    assert similar > 0.99


@offer
def gradients_by_torch_func(backbone, images):
    backbone.eval()
    parameters = dict(backbone.named_parameters())

    def loss(parameters):
        return square_sum(torch.func.functional_call(backbone, parameters, (images,)))

    got = torch.func.grad(loss)(parameters)
    loss(parameters).backward()
    found = torch.cat([got[name].flatten() for name, p in parameters.items() if p.grad is not None])
    assert_close(found, gradients(backbone), 'gradients', 1e-3)


# Compiling takes a minute for all.
MARKS = {what: pytest.mark.full if 'compile' in what else pytest.mark.slow for what in OFFERS}


@pytest.mark.parametrize('what', [pytest.param(what, marks=mark) for what, mark in MARKS.items()])
@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
def test_works_with(name, what):
    torch.compiler.reset()
    OFFERS[what](build(name).eval(), image(64, 64))


@pytest.mark.skipif(
    torch.__version__ < (2, 9), reason='the sizes of a convolution are no part of an older trace'
)
def test_tables_of_rotations_follow_the_size_of_images_in_a_symbolic_trace():
    backbone = build('VisionMamba', use_rope=True).eval()
    traced = torch.fx.symbolic_trace(backbone)
    for size in ((64, 64), (96, 64)):
        with torch.no_grad():
            as_before(traced(image(*size))[-1], backbone, image(*size))


@pytest.mark.slow
def test_tables_that_an_export_makes_have_values():
    for orders in (cross_orders, snake_orders):
        orders.cache_clear()
    for name in ('VMamba', 'PlainMamba', 'VisionMamba', 'MILA'):
        backbone, images = build(name).eval(), image(96, 64)
        with torch.no_grad():
            torch.export.export(backbone, (images,))
        assert output(backbone, images).isfinite().all()


@pytest.fixture(scope='module')
def process_group(tmp_path_factory):
    file = tmp_path_factory.mktemp('group') / 'store'
    torch.distributed.init_process_group('gloo', init_method=f'file://{file}', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::UserWarning')
@pytest.mark.parametrize('kind', ['DDP', 'FSDP2'])
@pytest.mark.parametrize('name', FAMILIES)
def test_trains_under(name, kind, process_group):
    # 64 channels in a scan fill the blocks of the CPU's kernels: nothing was copied there.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = build(name).train()
    plain = copy.deepcopy(model)
    if kind == 'DDP':
        model = nn.parallel.DistributedDataParallel(model)
    else:
        mesh = init_device_mesh('cpu', (1,))
        for block in [m for m in model.modules() if type(m).__name__.endswith('Block')]:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    for _ in range(2):
        square_sum(model(image(64, 64))).backward()
        square_sum(plain(image(64, 64))).backward()
    assert_close(gradients(model), gradients(plain), 'gradients', 1e-3)
