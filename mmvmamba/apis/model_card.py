"""The README of a folder on the Hugging Face hub, made from the metafiles."""

from typing import Any

from .descriptions import ModelDescription
from .metafiles import read_collections, read_metafile
from .model_table import MODEL_TABLE

__all__ = ['card_metadata', 'card_text']

FOLDERS = dict(classification='cls', detection='det', segmentation='seg')
PIPELINE_TAGS = dict(
    classification='image-classification',
    detection='object-detection',
    segmentation='image-segmentation',
)
# The hub knows licences by these names; another is 'other', with its name beside it.
LICENSES = {'Apache-2.0': 'apache-2.0', 'MIT': 'mit', 'CC-BY-NC-SA-4.0': 'cc-by-nc-sa-4.0'}

_TEXT = """
# {title}

A {task} model of [mmvmamba]({project}), {params} parameters.
The architecture is [{paper}]({url}).

## Use

```bash
pip install "mmvmamba[openmmlab,hf]"
```

```python
{imports}

model = mmvmamba.PretrainedModel.from_pretrained({repo!r})
{use}
```
{transformers}
## Weights

{origin}

| | licence |
| --- | --- |
| mmvmamba's code | Apache-2.0 |
| the authors' code, which mmvmamba does not contain | {code_license} |
| the authors' weights | {weights_license} |

{results}
"""

_TRANSFORMERS = """
With transformers (`pip install "mmvmamba[openmmlab,transformers]"`), without remote code:

```python
import mmvmamba
from transformers import AutoImageProcessor, AutoModelForImageClassification

processor = AutoImageProcessor.from_pretrained({repo!r})
model = AutoModelForImageClassification.from_pretrained({repo!r})
logits = model(**processor('image.jpg'))['logits']
```
"""

_IMPORTS = dict(
    classification='import mmvmamba',
    detection='import mmvmamba\nfrom mmdet.apis import inference_detector',
    segmentation='import mmvmamba\nfrom mmseg.apis import inference_model',
)
_USES = dict(
    classification="print(mmvmamba.classify(model, 'image.jpg', topk=5))",
    detection="print(inference_detector(model, 'image.jpg').pred_instances)",
    segmentation="print(inference_model(model, 'image.jpg').pred_sem_seg)",
)


def card_metadata(description: ModelDescription, license: str | None = None) -> dict[str, Any]:
    """What the hub reads at the top of a card.

    Args:
        description: The model.
        license: Licence of the weights; None for that of the authors' weights.
    """
    name = license or _collection(description)['License']['Weights']
    metadata: dict[str, Any] = dict(license=LICENSES.get(name, name))
    if license is None and name not in LICENSES:
        metadata = dict(license='other', license_name=name)
    return dict(
        metadata,
        library_name='mmvmamba',
        pipeline_tag=PIPELINE_TAGS[description.task],
        tags=['mmvmamba', 'vision-mamba', str(description.family)],
    )


def card_text(
    description: ModelDescription, params: int, is_official: bool, repo_id: str | None = None
) -> str:
    """The text of a card.

    Args:
        description: The model.
        params: Number of its parameters.
        is_official: Whether the weights are those that the authors published.
        repo_id: The repository that the folder goes to, for the examples.
    """
    collection = _collection(description)
    repo = repo_id or 'owner/name'
    is_classifier = description.task == 'classification'
    return _TEXT.format(
        title=description.name or f'{collection["Name"]}, own settings',
        task=description.task,
        project='https://pypi.org/project/mmvmamba/',
        params=f'{params:,}',
        paper=collection['Paper']['Title'],
        url=collection['Paper']['URL'],
        repo=repo,
        imports=_IMPORTS[description.task],
        use=_USES[description.task],
        transformers=_TRANSFORMERS.format(repo=repo) if is_classifier else '',
        origin=_origin(collection, is_official),
        code_license=collection['License']['Code'],
        weights_license=collection['License']['Weights'],
        results=_results(description, is_official),
    ).strip()


def _collection(description: ModelDescription) -> dict:
    model = read_metafile(FOLDERS[description.task]).get(description.name or '')
    if model is None:
        row = next(row for row in MODEL_TABLE.values() if row.family == description.family)
        model = read_metafile(FOLDERS['classification'])[row.name]
    return read_collections()[model['In Collection']]


def _origin(collection: dict, is_official: bool) -> str:
    if is_official:
        return f"These are the authors' weights ([source]({collection['Code']['URL']})), converted."
    return (
        "These are not the authors' weights. Say here what they were trained on and what they "
        "reach. If training began with the authors' weights, their licence goes on."
    )


def _results(description: ModelDescription, is_official: bool) -> str:
    model = read_metafile(FOLDERS[description.task]).get(description.name or '')
    rows = [
        f'| {result["Dataset"]} | {metric} | {value} |'
        for result in (model or {}).get('Results', ())
        for metric, value in result['Metrics'].items()
    ]
    if not rows:
        return ''
    whose = 'these weights' if is_official else "the authors' weights, not for these"
    return '\n'.join(
        (
            f'Figures **published by the authors** for {whose}; they were not measured here.',
            '',
            '| data | figure | published |',
            '| --- | --- | --- |',
            *rows,
        )
    )
