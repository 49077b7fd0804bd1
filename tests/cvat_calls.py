"""Calls a gateway as CVAT 2.73 does: its headers, its bodies, a new connection each time.

`stored` is what CVAT makes of the answer of a detector, as far as that depends on no task.
"""

import base64
import io
import json
from typing import Any

import numpy as np
import PIL.Image
import requests

from pictures import picture
from prefect_cvat.gateway import Gateway
from prefect_cvat.masks import encode_mask

HEADERS = {
    "User-Agent": "CVAT/2.73.0 python-requests/2.33.1",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "x-nuclio-project-name": "cvat",
    "x-nuclio-invoke-via": "domain-name",
}
COUNTS = {"rectangle": 4, "ellipse": 4, "cuboid": 16}


class CvatCalls:
    """The calls of one CVAT server."""

    def __init__(self, gateway: Gateway, *, secret: str | None = None, timeout: float = 120) -> None:
        self.url = gateway.url
        self.timeout = timeout
        self.headers = {
            **HEADERS,
            "x-nuclio-function-namespace": gateway.secret.get_secret_value() if secret is None else secret,
            "X-Nuclio-Invoke-Timeout": f"{timeout:g}s",
        }

    def functions(self) -> requests.Response:
        return requests.get(f"{self.url}/api/functions", headers=self.headers, timeout=self.timeout)

    def function(self, name: str) -> requests.Response:
        return requests.get(f"{self.url}/api/functions/{name}", headers=self.headers, timeout=self.timeout)

    def in_progress(self) -> int:
        """How many calls the gateway has now."""
        count: int = requests.get(f"{self.url}/health", timeout=self.timeout).json()["calls"]
        return count

    def invoke(self, name: str, body: bytes | dict[str, Any]) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            **self.headers,
            "x-nuclio-function-name": name,
            "x-nuclio-path": "/",
            "Content-Type": "application/json",
        }
        url = f"{self.url}/api/function_invocations"
        return requests.post(url, data=data, headers=headers, timeout=self.timeout)

    def from_page(self, name: str, image: bytes | None = None, **fields: Any) -> Any:
        """A call from CVAT's page, which asks for the record of the function before."""
        self.function(name).raise_for_status()
        response = self.invoke(name, {"image": encoded(image), **fields})
        response.raise_for_status()
        return response.json()

    def refused(self, name: str, image: bytes | None = None, **fields: Any) -> tuple[int, str]:
        """Status and reason of a call that fails."""
        response = self.invoke(name, {"image": encoded(image), **fields})
        assert response.status_code >= 400, response.text
        return response.status_code, response.reason


def encoded(image: bytes | None = None) -> str:
    return base64.b64encode(picture() if image is None else image).decode()


def image_file(pixels: Any, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def stored(item: dict[str, Any]) -> list[float]:
    """The points that CVAT 2.73 stores for an item; fails where CVAT answers 400 or 500, or stores garbage."""
    assert isinstance(item["label"], str)
    assert set(item) <= {"label", "type", "points", "rotation", "group_id", "attributes", "mask", "elements"}
    assert 0 <= item.get("rotation", 0) <= 360
    for attribute in item.get("attributes", []):
        assert isinstance(attribute["name"], str)
        assert isinstance(attribute["value"], str)
    kind = item["type"]
    if kind == "tag":
        return []
    if kind == "mask":
        *pixels, left, top, right, bottom = item["mask"]
        assert {*pixels} <= {0, 1}
        assert all(type(number) is int for number in item["mask"])
        bitmap = np.array(pixels, dtype=bool).reshape(bottom - top + 1, right - left + 1)
        return encode_mask(bitmap, (0, 0, bitmap.shape[1], bitmap.shape[0]), offset=(left, top))
    if kind == "skeleton":
        assert any(not element["outside"] for element in item["elements"])
        return [number for element in item["elements"] for number in element["points"]]
    points = item["points"]
    assert np.isfinite(points).all()
    assert len(points) == COUNTS.get(kind, len(points))
    least = {"polygon": 6, "polyline": 4, "points": 2}.get(kind, 4)
    assert len(points) >= least
    assert len(points) % 2 == 0
    return list(points)
