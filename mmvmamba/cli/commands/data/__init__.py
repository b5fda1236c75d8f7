"""``mmvmamba data``: what is done to data sets."""

__all__ = ['COMMANDS', 'EXAMPLE', 'SUMMARY']

SUMMARY = 'check data sets, put them into databases, generate toy data'
EXAMPLE = 'mmvmamba data check configs/seg/l1_upernet.py --split val'

COMMANDS = ('check', 'lmdb', 'toy')
