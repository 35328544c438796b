"""Whether a face is still the same person's, by a recognizer that was trained on photographs of people.

dlib's ResNet (https://github.com/davisking/dlib-models, CC0), 99.38 % on Labeled Faces in the Wild. It comes in the
package `face_recognition_models`. Where the face is, is found in the portrait and holds for the stylized picture, in
which no detector need find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import dlib
import face_recognition_models
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
    """Pictures are ``(S,S,3)`` in 0..1."""

    def find(self, portrait: Field) -> Face | None:
        """The largest face of a portrait, or None."""
        pixels = _enlarged(portrait)
        if not (boxes := self._detector(pixels, 1)):
            return None
        landmarks = self._landmarks(pixels, max(boxes, key=lambda box: box.area()))
        return Face(landmarks, self._descriptor(pixels, landmarks))

    def distance(self, face: Face, image: Field) -> float:
        """Between a portrait's face and what is at its place in ``image``: 0 equal, below SAME the same person."""
        return float(np.linalg.norm(face.descriptor - self._descriptor(_enlarged(image), face.landmarks)))

    def distances(self, portraits: Sequence[Field], images: Sequence[Field]) -> NDArray[np.float64]:
        """For each pair; NaN where the portrait's face is not found."""
        found = [self.find(portrait) for portrait in portraits]
        return np.array(
            [self.distance(face, image) if face else np.nan for face, image in zip(found, images, strict=True)]
        )

    def _descriptor(self, pixels: NDArray[np.uint8], landmarks: Any) -> Descriptor:
        return np.array(self._network.compute_face_descriptor(pixels, landmarks))

    @cached_property
    def _detector(self) -> Any:
        return dlib.get_frontal_face_detector()

    @cached_property
    def _landmarks(self) -> Any:
        return dlib.shape_predictor(face_recognition_models.pose_predictor_five_point_model_location())

    @cached_property
    def _network(self) -> Any:
        return dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())


def _enlarged(image: Field) -> NDArray[np.uint8]:
    pixels = np.uint8(np.clip(image, 0.0, 1.0) * 255.0 + 0.5)
    return np.asarray(dlib.resize_image(pixels, max(1, round(SIDE / len(pixels)))))
