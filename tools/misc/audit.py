"""Asks for known weaknesses of the packages that are installed beside this Python (pip-audit).

Exit codes: 0 none is known, or nothing could be asked, which it says; 1 some are known.
"""

import json
import subprocess
import sys

from mmvmamba.cli.errors import EXIT_FOUND

COMMAND = ('--local', '--skip-editable', '--progress-spinner', 'off', '--format', 'json')


def weaknesses(packages: list[dict]) -> list[str]:
    """Lists what is known, one line each."""
    return [
        f'{package["name"]} {package["version"]}: {found["id"]}, '
        f'mended in {", ".join(found["fix_versions"]) or "no version"}'
        for package in packages
        for found in package.get('vulns', ())
    ]


def summary(report: str) -> tuple[str, bool]:
    """Words what pip-audit found.

    Args:
        report: Its JSON; anything else if it could not ask.

    Returns:
        The text, and whether there are weaknesses.
    """
    try:
        packages = json.loads(report)['dependencies']
    except (ValueError, KeyError, TypeError):
        packages = []
    skipped = [package['name'] for package in packages if 'skip_reason' in package]
    checked = len(packages) - len(skipped)
    # An index without a list of weaknesses answers that it knows none of the packages.
    if not checked:
        return 'audit: NOTHING WAS CHECKED, no list of weaknesses could be fetched', False
    found = weaknesses(packages)
    lines = [*found, f'audit: {len(found) or "no"} known weaknesses in {checked} packages']
    if skipped:
        lines.append(f'audit: not checked, since the list does not have them: {", ".join(skipped)}')
    return '\n'.join(lines), bool(found)


def main() -> None:
    command = [sys.executable, '-m', 'pip_audit', *COMMAND]
    done = subprocess.run(command, capture_output=True, text=True)
    text, is_weak = summary(done.stdout)
    print(text)
    if not done.stdout:
        print(done.stderr.strip()[-1000:], file=sys.stderr)
    sys.exit(EXIT_FOUND if is_weak else 0)


if __name__ == '__main__':
    main()
