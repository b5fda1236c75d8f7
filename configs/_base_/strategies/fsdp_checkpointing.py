# As fsdp.py; blocks recompute their activations in the backward pass: a third more time for the
# least memory.
_base_ = './fsdp.py'

strategy = dict(activation_checkpointing=True)
