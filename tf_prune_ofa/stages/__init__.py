"""The method, stage by stage.

finetune -> prune or reconstruct -> transfer -> quantize -> export -> verify -> benchmark -> report

Each module has `run(settings, context) -> figures`. It reads the folders of the stages before and
writes only its own; `runner` skips what is done and lets what was killed resume.
"""
