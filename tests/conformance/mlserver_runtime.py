"""The face network inside MLServer, whose own interpreter runs this file."""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class FaceRuntime(MLModel):  # type: ignore[misc]
    """Runs the ONNX file that its settings name, as any model of MLServer's."""

    async def load(self) -> bool:
        """Open the file."""
        path = self.settings.parameters.uri
        self._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """(N, 112, 112, 3) crops to the three outputs."""
        crops = np.asarray(self.decode(payload.inputs[0], NumpyCodec), np.uint8)
        names = [output.name for output in self._session.get_outputs()]
        arrays = self._session.run(names, {"image": crops})
        outputs = [
            NumpyCodec.encode_output(name, array) for name, array in zip(names, arrays, strict=True)
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
