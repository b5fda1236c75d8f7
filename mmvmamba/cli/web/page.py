"""The page itself, of Gradio."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from mmvmamba.apis.inside import INSIDE
from mmvmamba.apis.models import list_models
from mmvmamba.cli.errors import UserError
from mmvmamba.visualization.panels import draw_classes, enlargement
from mmvmamba.visualization.predictions import OPACITY

from .service import Downloads, Found, Models

__all__ = ['THEME', 'build_page', 'serve']

# No typeface is fetched from elsewhere.
THEME = gr.themes.Soft(font=['system-ui', 'sans-serif'], font_mono=['monospace'])
# Pixels of a field: on a telephone they stand below each other.
LEAST_WIDTH = 280
# Seconds that a message stays.
READING_TIME = 30
# Seconds that uploads and results are kept.
KEEPING_TIME = 24 * 3600
INTRO = """# mmvmamba
Vision-Mamba backbones: classify, detect, segment, and look inside. Without a weights file the
official one is downloaded where there is one; *Inside* shows a model that is not trained then."""
KINDS = {
    'paths of the scans': 'scan',
    'what the state still has of each token': 'decay',
    'receptive field': 'field',
    'class activation': 'cam',
    'feature maps': 'features',
    'attention': 'attention',
}


def build_page(
    models: Models, downloads: Downloads, examples: list[str], model: str, weights: str
) -> gr.Blocks:
    """Builds the page.

    Args:
        models: What predicts.
        downloads: What writes the files of a result.
        examples: Images to click on.
        model: The one that is chosen at first.
        weights: Its file; empty for the official one.
    """
    keeping = (KEEPING_TIME, KEEPING_TIME)
    with gr.Blocks(title='mmvmamba', analytics_enabled=False, delete_cache=keeping) as page:
        gr.Markdown(INTRO)
        with gr.Row():
            choice = gr.Dropdown(
                list_models(), value=model, label='model: a name, or a config file',
                allow_custom_value=True, elem_id='model', min_width=LEAST_WIDTH,
            )  # fmt: skip
            file = gr.Textbox(
                weights, label='weights: a file, or nothing', elem_id='weights',
                min_width=LEAST_WIDTH,
            )  # fmt: skip
        image = gr.Image(type='filepath', label='image', sources=['upload'], elem_id='upload')
        image.preprocess = _path  # type: ignore[method-assign]  # Gradio has no other place for it
        gr.Examples(examples, image, label='examples')
        inputs = [choice, file, image]
        with gr.Tab('Classify'):
            _classify(models, downloads, inputs)
        with gr.Tab('Detect'):
            _detect(models, downloads, inputs)
        with gr.Tab('Segment'):
            _segment(models, downloads, inputs)
        with gr.Tab('Inside'):
            _look_inside(models, downloads, inputs)
    return page


def _path(payload: Any) -> str | None:
    """The file of an upload, which we look at: Gradio's own fault is a traceback."""
    return payload.path if payload else None


def _messages(function: Callable) -> Callable:
    """Shows what is wrong with the input as a message."""

    @functools.wraps(function)
    def called(*args: Any) -> Any:
        try:
            return function(*args)
        except (UserError, ValueError, OSError, ImportError, KeyError) as error:
            raise _message(str(error)) from None
        except RuntimeError as error:
            raise _message(f'the model broke down: {error}') from None

    return called


def _message(text: str) -> gr.Error:
    return gr.Error(text, duration=READING_TIME, print_exception=False)


def _result(name: str, files: str = 'PNG and JSON') -> tuple[gr.Image, gr.Files]:
    # A label would lie on the titles of the picture; shared is nothing.
    picture = gr.Image(
        show_label=False,
        interactive=False,
        buttons=['download', 'fullscreen'],
        elem_id=f'{name}_result',
    )
    return picture, gr.Files(label=files, elem_id=f'{name}_files')


def _classify(models: Models, downloads: Downloads, inputs: list) -> None:
    button = gr.Button('Classify', variant='primary', elem_id='classify')
    bars = gr.Label(label='the five best classes', num_top_classes=5, elem_id='classes')
    files = gr.Files(label='PNG and JSON', elem_id='classify_files')

    @_messages
    def run(model: str, weights: str, path: str | None) -> tuple:
        found = models.find('classes', model, weights, path)
        best = {item['name']: item['score'] for item in found.record['classes']}
        picture = draw_classes(
            found.image, list(best), list(best.values()), enlargement(found.image)
        )
        return best, downloads.save(picture, found.record)

    button.click(run, inputs, [bars, files])


def _detect(models: Models, downloads: Downloads, inputs: list) -> None:
    button = gr.Button('Detect', variant='primary', elem_id='detect')
    with gr.Row():
        threshold = gr.Slider(
            0, 1, 0.3, step=0.01, label='score from', elem_id='threshold', min_width=LEAST_WIDTH
        )
        names = gr.Dropdown(
            [], multiselect=True, label='only these classes', elem_id='filter',
            min_width=LEAST_WIDTH,
        )  # fmt: skip
    count = gr.Markdown(elem_id='count')
    picture, files = _result('detect')
    state = gr.State()

    def draw(found: Found | None, threshold: float, names: list[str]) -> tuple:
        if found is None:
            return None, None, ''
        drawn, number = found.draw_objects(threshold, names)
        total = len(found.record['instances'])
        return drawn, downloads.save(drawn, found.record), f'{number} of {total} objects are drawn'

    @_messages
    def run(model: str, weights: str, path: str | None) -> tuple:
        found = models.find('instances', model, weights, path)
        return found, gr.Dropdown(choices=found.names, value=[])

    shown = [picture, files, count]
    found = button.click(run, inputs, [state, names], show_progress_on=picture)
    settings = [threshold.release, threshold.change, names.input]
    _draw_anew(found, settings, draw, [state, threshold, names], shown)


def _segment(models: Models, downloads: Downloads, inputs: list) -> None:
    button = gr.Button('Segment', variant='primary', elem_id='segment')
    opacity = gr.Slider(0, 1, OPACITY, step=0.05, label='opacity', elem_id='opacity')
    named = gr.Markdown('Click into the result to learn the class of a place.', elem_id='clicked')
    picture, files = _result('segment')
    state = gr.State()

    def draw(found: Found | None, opacity: float) -> tuple:
        if found is None:
            return None, None
        drawn = found.draw_classes_of_pixels(opacity)
        return drawn, downloads.save(drawn, found.record)

    @_messages
    def run(model: str, weights: str, path: str | None) -> Found:
        return models.find('regions', model, weights, path)

    def name(found: Found | None, event: gr.SelectData) -> str:
        return f'**{found.class_at(*event.index) or "beside the image"}**' if found else ''

    shown = [picture, files]
    found = button.click(run, inputs, state, show_progress_on=picture)
    _draw_anew(found, [opacity.change], draw, [state, opacity], shown)
    picture.select(name, state, named)


def _draw_anew(
    found: Dependency, settings: list, draw: Callable, inputs: list, shown: list
) -> None:
    """Draws what was found, and again whenever a setting changes.

    It is drawn with the settings as they are then, one drawing after the other: no picture of
    earlier settings comes after that of the last ones.
    """
    event: dict = dict(
        fn=draw, inputs=inputs, outputs=shown, show_progress='hidden',
        concurrency_limit=1, concurrency_id=draw.__qualname__,
    )  # fmt: skip
    found.success(**event)
    gr.on(settings, trigger_mode='always_last', **event)


def _look_inside(models: Models, downloads: Downloads, inputs: list) -> None:
    kind = gr.Radio(list(KINDS), value=next(iter(KINDS)), label='what', elem_id='kind')
    button = gr.Button('Look', variant='primary', elem_id='look')
    picture, files = _result('look', 'PNG')
    assert set(KINDS.values()) == set(INSIDE)

    @_messages
    def run(model: str, weights: str, path: str | None, kind: str) -> tuple:
        drawn = models.inside(KINDS[kind], model, weights, path)
        return drawn, downloads.save(drawn)

    button.click(run, [*inputs, kind], [picture, files])


def serve(page: gr.Blocks, host: str, port: int, max_bytes: int, examples: Path) -> None:
    """Serves the page until it is interrupted."""
    page.queue(default_concurrency_limit=4).launch(
        server_name=host,
        server_port=port,
        max_file_size=max_bytes,
        allowed_paths=[str(examples)],
        theme=THEME,
        show_error=True,
        share=False,
        quiet=True,
        footer_links=[],
        ssr_mode=False,
    )
