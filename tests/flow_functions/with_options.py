"""Passes a mapping of options on to another function."""

from flow_functions import on_device


def create(options):
    return on_device.create(**options)
