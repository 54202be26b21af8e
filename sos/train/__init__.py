"""Pretraining with Lightning: the module, the optimizer, the callbacks and one whole run."""
