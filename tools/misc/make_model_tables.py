"""Writes the tables of models and the list of papers in README.md and docs/models.md from the
metafiles and configs.

Exit codes: 0 the tables are up to date, 1 they are not (with --check), 2 bad input.
"""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from mmvmamba.apis.metafiles import config_root, read_collections, read_metafile
from mmvmamba.apis.model_table import MODEL_TABLE
from mmvmamba.apis.task_models import TASKS, task_configs
from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.registry import MODELS

BEGIN, END = '<!-- {}: tools/misc/make_model_tables.py -->', '<!-- end of {} -->'
HEADS = {
    'MaskRCNN': 'Mask R-CNN',
    'CascadeRCNN': 'Cascade Mask R-CNN',
    'RetinaNet': 'RetinaNet',
    'UPerHead': 'UperNet',
    'SegformerHead': 'SegFormer',
}
FIGURES = dict(cls=('Top 1 Accuracy',), det=('box AP', 'mask AP'), seg=('mIoU', 'mIoU(ms+flip)'))
TITLES = dict(cls='ImageNet-1k classification', det='COCO detection', seg='ADE20K segmentation')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/misc/make_model_tables.py --check',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--root',
        type=Path,
        default=config_root().parent,
        help='folder with README.md and docs (default: that of the configs)',
    )
    parser.add_argument('--check', action='store_true', help='write nothing, compare')
    return parser.parse_args(argv)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(header), *(tuple(row) for row in rows)]
    lines.insert(1, ('---',) * len(lines[0]))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def family_table() -> str:
    """One row for each family: what there is of it for the three tasks."""
    heads = {task: heads_by_family(task) for task in TASKS}
    families = {row.family: read_metafile('cls')[row.name] for row in MODEL_TABLE.values()}
    rows = []
    for family, model in families.items():
        collection = read_collections()[model['In Collection']]
        own = [row for row in MODEL_TABLE.values() if row.family == family]
        top1 = [row.top1 for row in own if row.top1 is not None]
        rows.append(
            (
                f'[{collection["Name"]}]({collection["Paper"]["URL"]})',
                link_to(f'{min(top1):.1f} to {max(top1):.1f}', 'cls'),
                *(link_to(', '.join(heads[t].get(family, ())), TASKS[t]) for t in TASKS),
                ', '.join(row.name.removeprefix(f'{family}_') for row in own),
            )
        )
    return table(('family', 'ImageNet top-1', 'COCO', 'ADE20K', 'variants'), rows)


def link_to(text: str, folder: str) -> str:
    """The text as a link to a part of docs/models.md; nothing for no text."""
    anchor = TITLES[folder].lower().replace(' ', '-')
    return f'[{text}](docs/models.md#{anchor})' if text else ''


def paper_list() -> str:
    """The papers of the families, each once."""
    papers = {each['Paper']['URL']: each['Paper']['Title'] for each in read_collections().values()}
    return '\n'.join(f'- [{title}]({url})' for url, title in papers.items())


def heads_by_family(task: str) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for path in task_configs(task).values():
        model = Config.fromfile(path, import_custom_modules=False).model
        head = HEADS.get(model.type) or HEADS[model.decode_head.type]
        found.setdefault(MODELS.get(model.backbone.type).family, set()).add(head)
    return {family: sorted(heads) for family, heads in found.items()}


def model_page() -> str:
    """Every model with its figures."""
    parts = [
        '# Models\n\nWritten by `tools/misc/make_model_tables.py` from the metafiles beside the '
        'configs. Figures are\nthe published ones, not measured here; numbers of parameters are '
        'exact. A licence is that of the\nofficial weights.'
    ]
    for folder, figures in FIGURES.items():
        rows = [model_row(model, figures) for model in read_metafile(folder).values()]
        header = ('model', 'parameters', *figures, 'weights', 'licence')
        parts += [f'## {TITLES[folder]}', table(header, rows)]
    return '\n\n'.join(parts) + '\n'


def model_row(model: dict, figures: Iterable[str]) -> tuple[str, ...]:
    metrics = {k: v for result in model.get('Results', ()) for k, v in result['Metrics'].items()}
    weights = model.get('Weights')
    licence = read_collections()[model['In Collection']]['License']['Weights']
    return (
        f'[{model["Name"]}](../{model["Config"]})',
        f'{model["Metadata"]["Parameters"]:,}',
        *(str(metrics.get(figure, '')) for figure in figures),
        f'[file]({weights})' if weights else '',
        licence if weights else '',
    )


def with_parts(readme: str) -> str:
    """The README with its parts that are made here, between the lines that name them."""
    for name, text in (('models', family_table()), ('papers', paper_list())):
        begin, end = BEGIN.format(name), END.format(name)
        before, found_begin, rest = readme.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise UserError(f'README.md has no lines {begin!r} and {end!r} for the {name}')
        readme = f'{before}{begin}\n{text}\n{end}{after}'
    return readme


def write_tables(root: Path, is_check: bool) -> int:
    readme, page = root / 'README.md', root / 'docs' / 'models.md'
    if not readme.is_file():
        raise UserError(f'there is no {readme}; name the folder of the sources with --root')
    wanted = {readme: with_parts(readme.read_text()), page: model_page()}
    stale = [p for p, text in wanted.items() if not p.is_file() or p.read_text() != text]
    for path in stale:
        if not is_check:
            path.write_text(wanted[path])
        print(f'{path} {"is not up to date" if is_check else "written"}')
    return 1 if stale and is_check else 0


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with user_errors():
        return write_tables(args.root, args.check)


if __name__ == '__main__':
    sys.exit(main())
