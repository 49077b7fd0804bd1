"""The version of CVAT whose API the sandbox follows."""

CVAT_VERSION = "2.73.0"
