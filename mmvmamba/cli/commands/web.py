"""``mmvmamba web``."""

import argparse
import os
import signal
import socket

from mmvmamba.cli.arguments import positive
from mmvmamba.cli.errors import UserError

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'open a web page: classify, detect, segment and look inside'
EXAMPLE = """mmvmamba web
  mmvmamba web --model my_config.py --weights work_dirs/my_config/best.pth --port 8000"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model that is chosen at first, and where the page is."""
    parser.add_argument('--model', default='mambaout_femto', help='default: %(default)s')
    parser.add_argument('--weights', default='', metavar='W', help='default: the official one')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='default: %(default)s, which other machines cannot reach; whoever can reach the page '
        'can name files of this machine as weights',
    )
    parser.add_argument('--port', type=positive, default=7860, help='default: %(default)s')


def run(args: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C or SIGTERM."""
    # Nothing is told to anybody.
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError('the web page needs Gradio: pip install "mmvmamba[web]"') from error
    import tempfile
    from pathlib import Path

    from mmvmamba.apis.bare_models import bare_config
    from mmvmamba.cli.predictors import check_device
    from mmvmamba.cli.web.page import build_page, serve
    from mmvmamba.cli.web.service import MAX_BYTES, Downloads, Models, example_images

    check_device(args.device)
    bare_config(args.model)
    _check_port(args.host, args.port)
    # A service is ended by SIGTERM: as by Ctrl-C, nothing stays of what was uploaded and found.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix='mmvmamba_web_') as folder:
        os.environ.setdefault('GRADIO_TEMP_DIR', os.path.join(folder, 'gradio'))
        examples, results = Path(folder, 'examples'), Path(folder, 'results')
        for path in (examples, results):
            path.mkdir()
        page = build_page(
            *(Models(args.device), Downloads(results), example_images(examples)),
            *(args.model, args.weights),
        )
        print(f'http://{args.host}:{args.port} (Ctrl-C ends it)', flush=True)
        serve(page, args.host, args.port, MAX_BYTES, examples)


def _check_port(host: str, port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f'{host}:{port} cannot be used ({error}); give another --port or --host'
        ) from error
