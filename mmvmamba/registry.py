"""Child registries of mmengine's roots, in the scope ``mmvmamba``.

Configs name our types ``mmvmamba.PlainMamba``; the prefix makes mmengine import this module, and
the ``locations`` import what is registered. mmengine turns an ``ImportError`` raised here into "not
in the registry", so this file imports mmengine and nothing else.
"""

from mmengine import registry as root

__all__ = [
    'BACKBONES',
    'DATASETS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
    'STRATEGIES',
    'WEIGHT_INITIALIZERS',
]


def _child(name: str, parent: root.Registry, *locations: str) -> root.Registry:
    return root.Registry(name, parent=parent, scope='mmvmamba', locations=[*locations])


MODELS = _child('model', root.MODELS, 'mmvmamba.models', 'mmvmamba.engine')
BACKBONES = MODELS
DATASETS = _child('dataset', root.DATASETS, 'mmvmamba.datasets.registered')
HOOKS = _child('hook', root.HOOKS, 'mmvmamba.engine')
LOOPS = _child('loop', root.LOOPS, 'mmvmamba.engine')
METRICS = _child('metric', root.METRICS, 'mmvmamba.engine')
OPTIM_WRAPPERS = _child('optim_wrapper', root.OPTIM_WRAPPERS, 'mmvmamba.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'mmvmamba.engine'
)
WEIGHT_INITIALIZERS = _child('weight initializer', root.WEIGHT_INITIALIZERS, 'mmvmamba.checkpoint')
PARAM_SCHEDULERS = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'mmvmamba.engine')
RUNNERS = _child('runner', root.RUNNERS, 'mmvmamba.engine')
STRATEGIES = _child('strategy', root.STRATEGIES, 'mmvmamba.engine')
