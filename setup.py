"""Packaging: version, requirements, and what OpenMMLab packages carry under ``.mim``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
REPOSITORY = 'https://github.com/mmvmamba/mmvmamba'
MIM_CONTENT = ('configs', 'tools', 'demo', 'model-index.yml')


def read_requirements(name: str) -> list[str]:
    lines = (
        line.split('#')[0].strip()
        for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    )
    return [line for line in lines if line and not line.startswith('-r')]


def read_extras(name: str) -> dict[str, list[str]]:
    extras: dict[str, list[str]] = {}
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
        if line.startswith('# ['):
            current = extras.setdefault(line.strip('# []'), [])
        elif not line.startswith('#'):
            current.append(line.split('#')[0].strip())
    return extras


def read_version() -> str:
    scope: dict[str, str] = {}
    exec((ROOT / 'mmvmamba' / 'version.py').read_text(), scope)
    return scope['__version__']


def read_description() -> str:
    """The README, with links that hold where its files are not beside it."""
    text = (ROOT / 'README.md').read_text()
    text = re.sub(r'(\!\[[^\]]*\]\()(?!https?:)', rf'\1{REPOSITORY}/raw/main/', text)
    return re.sub(r'(?<=\]\()(?!https?:|#)', f'{REPOSITORY}/blob/main/', text)


class BuildWithMim(build_py):
    """Copies configs and tools into the package, where mim and OpenMMLab's inferencers look."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmvmamba' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM_CONTENT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(source, target / name)


setup(
    name='mmvmamba',
    version=read_version(),
    description='Vision-Mamba backbones for classification, detection and segmentation',
    long_description=read_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author='The mmvmamba authors',
    url=REPOSITORY,
    project_urls={
        'Documentation': f'{REPOSITORY}/tree/main/docs',
        'Source': REPOSITORY,
        'Changelog': f'{REPOSITORY}/blob/main/CHANGELOG.md',
        'Issues': f'{REPOSITORY}/issues',
    },
    keywords='vision mamba, state space models, object detection, semantic segmentation, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: GPU',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['mmvmamba', 'mmvmamba.*']),
    include_package_data=True,
    entry_points={'console_scripts': ['mmvmamba = mmvmamba.cli.main:program']},
    package_data={'mmvmamba': ['py.typed']},
    install_requires=read_requirements('runtime'),
    extras_require={
        'openmmlab': read_requirements('mminstall'),
        'onedl': read_requirements('mminstall-onedl'),
        'tests': read_requirements('tests'),
        **read_extras('optional'),
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
