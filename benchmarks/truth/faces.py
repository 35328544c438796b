"""Whether a face is still the same person's, by a recognizer that was trained on photographs of people.

dlib's ResNet (https://github.com/davisking/dlib-models, CC0), 99.38 % on Labeled Faces in the Wild. It comes in the
package `face_recognition_models`. Where the face is, is found in the portrait and holds for the stylized picture, in
which no detector need find it.
"""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demo.render.fields import Field

SAME = 0.6  # the distance up to which the recognizer's author takes two faces for one person's
SIDE = 512  # pixels; smaller pictures are enlarged to it, because the detector wants faces of 80

Descriptor = NDArray[np.float64]


class Face(NamedTuple):
    """A face found in a portrait: its landmarks, in a picture enlarged to SIDE, and its descriptor ``(128,)``."""

    landmarks: Any
    descriptor: Descriptor


class Recognizer:
    """Pictures are ``(S,S,3)`` in 0..1. ``ImportError`` at the first face if dlib or its weights are not installed."""

    def find(self, portrait: Field) -> Face | None:
        """The largest face of a portrait, or None."""
        pixels = _enlarged(portrait)
        if not (boxes := self._detector(pixels, 1)):
            return None
        landmarks = self._landmarks(pixels, max(boxes, key=lambda box: box.area()))
        return Face(landmarks, self._descriptor(pixels, landmarks))

    def distance(self, face: Face | None, image: Field) -> float:
        """Between a portrait's face and what is at its place in ``image``: 0 equal, up to SAME the same person; NaN
        without a face."""
        if face is None:
            return float("nan")
        return float(np.linalg.norm(face.descriptor - self._descriptor(_enlarged(image), face.landmarks)))

    def _descriptor(self, pixels: NDArray[np.uint8], landmarks: Any) -> Descriptor:
        return np.array(self._network.compute_face_descriptor(pixels, landmarks))

    @cached_property
    def _detector(self) -> Any:
        return _dlib().get_frontal_face_detector()

    @cached_property
    def _landmarks(self) -> Any:
        return _dlib().shape_predictor(str(_weights("shape_predictor_5_face_landmarks.dat")))

    @cached_property
    def _network(self) -> Any:
        return _dlib().face_recognition_model_v1(str(_weights("dlib_face_recognition_resnet_model_v1.dat")))


def _enlarged(image: Field) -> NDArray[np.uint8]:
    pixels = np.ascontiguousarray(np.clip(image, 0.0, 1.0) * 255.0 + 0.5, np.uint8)  # dlib takes no other layout
    return np.asarray(_dlib().resize_image(pixels, max(1, round(SIDE / len(pixels)))))


def _dlib() -> Any:
    import dlib

    return dlib


def _weights(name: str) -> Path:
    """A file of the package of weights, which itself would import `pkg_resources`, gone from new setuptools."""
    found = find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            "Faces are compared by the weights in the package face_recognition_models, which is not installed. Run "
            "`python3 dev.py bench quality`, which installs it in a folder of its own."
        )
    return Path(found.submodule_search_locations[0]) / "models" / name
